"""Clients that keep count of what they lose.

Started by the tests of internet mode. Each client does its one thing again and again until SIGTERM, ends what it is at,
and then one JSON object is printed: for each kind what was done, what failed and how, and what was repeated.

A request is repeated only where RFC 9112 section 9.3.1 says so: a kept connection ended before the first byte of an answer.
It counts as `crossed`, and no test takes it for a success of its own. Everything else that is not a whole right answer has
failed: a refused or reset connection, a broken handshake, an end in the middle, a wrong status, wrong bytes.
"""

import argparse
import asyncio
import hashlib
import json
import random
import signal
import socket
import ssl
import time

import websockets

PATIENCE = 60
PIECE = 16 * 1024


class Lost(Exception):
    """A request that did not get its answer."""


class Tally:
    """What came of one kind of clients."""

    def __init__(self):
        self.done = 0
        self.crossed = []
        self.told_to_leave = 0
        self.connections = 0
        self.failed = []
        self.times = []

    def shown(self):
        times = sorted(self.times)
        at = lambda part: round(times[min(len(times) - 1, int(len(times) * part))] * 1000, 3) if times else None
        return {
            "done": self.done,
            "crossed": self.crossed,
            "told_to_leave": self.told_to_leave,
            "connections": self.connections,
            "failed": self.failed,
            "p50_ms": at(0.5),
            "p99_ms": at(0.99),
            "max_ms": at(1.0),
        }


class Connection:
    """One HTTP/1.1 connection over TLS."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.is_used = False
        self.port = writer.get_extra_info("sockname")[1]

    @classmethod
    async def open(cls, world, name, tally, receive_bytes=None):
        raw = socket.socket()
        raw.setblocking(False)
        if receive_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        port = None
        try:
            await asyncio.get_running_loop().sock_connect(raw, world.address)
            port = raw.getsockname()[1]
            reader, writer = await asyncio.open_connection(
                sock=raw, ssl=world.tls, server_hostname=name, limit=64 * 1024
            )
        except OSError as error:
            raw.close()
            raise Lost("connecting", port, repr(error)) from error
        tally.connections += 1
        return cls(reader, writer)

    def lost(self, doing, error):
        return Lost(doing, self.port, repr(error))

    async def head(self):
        """Status and headers of the next answer; None when the connection ended before its first byte."""
        try:
            text = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        except asyncio.IncompleteReadError as error:
            if not error.partial and self.is_used:
                return None
            raise self.lost("waiting for the answer", error) from error
        except asyncio.TimeoutError as error:
            raise self.lost("waiting for the answer", error) from error
        except OSError as error:
            if self.is_used:
                return None
            raise self.lost("waiting for the answer", error) from error
        lines = text.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        self.is_used = True
        status = int(lines[0].split()[1])
        if status != 200:
            raise self.lost(f"status {status}", lines[0])
        return headers

    async def body(self, length, per_second=None):
        digest, left = hashlib.sha256(), length
        while left:
            try:
                data = await asyncio.wait_for(self.reader.read(min(left, 4 * PIECE)), PATIENCE)
            except (OSError, asyncio.TimeoutError) as error:
                raise self.lost(f"reading, {left} of {length} bytes left", error) from error
            if not data:
                raise self.lost(f"reading, {left} of {length} bytes left", "end")
            digest.update(data)
            left -= len(data)
            if per_second:
                await asyncio.sleep(len(data) / per_second)
        return digest.hexdigest()

    async def send(self, data):
        self.writer.write(data)
        try:
            await self.writer.drain()
        except OSError as error:
            if not self.is_used:
                raise self.lost("sending", error) from error

    def close(self):
        self.writer.close()


class World:
    """Everything that the clients share."""

    def __init__(self, options):
        self.address = ("127.0.0.1", options.port)
        self.site = options.site
        self.app = options.app
        self.tls = ssl.create_default_context(cafile=options.ca)
        self.stopping = asyncio.Event()
        self.big = options.big
        self.rate = options.rate
        self.random = random.Random(options.seed)

    async def pause(self, seconds):
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except asyncio.TimeoutError:
            pass


def get(name, path, more=""):
    return f"GET {path} HTTP/1.1\r\nHost: {name}\r\n{more}\r\n".encode()


async def small(world, tally, connection, more="", began=None):
    """One small page over a connection that may be kept; the connection, if it can be used again."""
    began = began or time.monotonic()
    while True:
        if connection is not None and connection.reader.at_eof():
            # It ended while it rested: nothing was asked, so nothing is lost.
            connection.close()
            connection = None
        if connection is None:
            connection = await Connection.open(world, world.site, tally)
        await connection.send(get(world.site, "/", more))
        headers = await connection.head()
        if headers is not None:
            break
        tally.crossed.append({"at": time.monotonic(), "port": connection.port})
        connection.close()
        connection = None
    await connection.body(int(headers["content-length"]))
    tally.times.append(time.monotonic() - began)
    tally.done += 1
    if headers.get("connection") == "close":
        connection.close()
        return None
    return connection


async def keep(world, tally):
    connection = None
    try:
        while not world.stopping.is_set():
            connection = await small(world, tally, connection)
    finally:
        if connection:
            connection.close()


async def think(world, tally):
    """A person who reads: the connection rests between requests."""
    connection = None
    try:
        while not world.stopping.is_set():
            connection = await small(world, tally, connection)
            await world.pause(world.random.uniform(0.05, 3))
    finally:
        if connection:
            connection.close()


async def paced(world, tally):
    """So many requests in a second whether or not answers keep up: each is timed from when it should have been sent."""
    connection, at = None, time.monotonic() + world.random.uniform(0, 1 / world.rate)
    try:
        while not world.stopping.is_set():
            await asyncio.sleep(max(0, at - time.monotonic()))
            connection = await small(world, tally, connection, began=at)
            at += 1 / world.rate
    finally:
        if connection:
            connection.close()


async def close(world, tally):
    while not world.stopping.is_set():
        await small(world, tally, None, "Connection: close\r\n")
        await world.pause(0.05)


async def download(world, tally):
    """A file of some megabytes, read slowly by a client with a small window."""
    length, digest = world.big
    while not world.stopping.is_set():
        connection = await Connection.open(world, world.site, tally, receive_bytes=64 * 1024)
        try:
            await connection.send(get(world.site, "/big.bin", "Connection: close\r\n"))
            headers = await connection.head()
            if int(headers["content-length"]) != length:
                raise connection.lost("wrong length", headers["content-length"])
            if await connection.body(length, per_second=length / 2.5) != digest:
                raise connection.lost("wrong bytes", "")
            tally.done += 1
        finally:
            connection.close()


async def upload(world, tally):
    """A body that takes more than a second, in pieces, to the application."""
    pieces, piece = 24, b"u" * PIECE
    while not world.stopping.is_set():
        connection = await Connection.open(world, world.app, tally)
        try:
            length = pieces * len(piece)
            head = f"POST /upload HTTP/1.1\r\nHost: {world.app}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
            await connection.send(head.encode())
            for _ in range(pieces):
                await connection.send(piece)
                await asyncio.sleep(0.05)
            headers = await connection.head()
            answer = await connection.reader.readexactly(int(headers["content-length"]))
            if json.loads(answer) != {"bytes": length}:
                raise connection.lost("wrong answer", answer)
            tally.done += 1
        except asyncio.IncompleteReadError as error:
            raise connection.lost("reading", error) from error
        finally:
            connection.close()


async def websocket(world, tally):
    """A conversation of some seconds with the application; a Close of the server with 1001 is an orderly end."""
    while not world.stopping.is_set():
        port = None
        try:
            raw = socket.create_connection(world.address)
            port = raw.getsockname()[1]
            url = f"wss://{world.app}/ws"
            async with websockets.connect(url, sock=raw, ssl=world.tls, proxy=None, open_timeout=PATIENCE) as open_:
                tally.connections += 1
                until = time.monotonic() + world.random.uniform(0.5, 3)
                while time.monotonic() < until and not world.stopping.is_set():
                    said = f"{world.random.random()}"
                    await open_.send(said)
                    heard = await asyncio.wait_for(open_.recv(), PATIENCE)
                    if heard != said:
                        raise Lost("wrong echo", port, heard)
                    tally.done += 1
                    await asyncio.sleep(0.02)
        except websockets.ConnectionClosedError as error:
            if error.rcvd is not None and error.rcvd.code == 1001:
                tally.told_to_leave += 1
                continue
            raise Lost("talking", port, repr(error)) from error
        except websockets.ConnectionClosedOK as error:
            if error.rcvd is not None and error.rcvd.code == 1001:
                tally.told_to_leave += 1
                continue
            raise Lost("talking", port, repr(error)) from error
        except (OSError, websockets.WebSocketException, asyncio.TimeoutError) as error:
            raise Lost("opening", port, repr(error)) from error


KINDS = {each.__name__: each for each in (keep, think, paced, close, download, upload, websocket)}


async def client(kind, world, tally):
    while not world.stopping.is_set():
        try:
            await KINDS[kind](world, tally)
        except Lost as lost:
            doing, port, error = lost.args
            tally.failed.append({"at": time.monotonic(), "doing": doing, "port": port, "error": error})
        except Exception as error:  # whatever it is, it was lost
            tally.failed.append({"at": time.monotonic(), "doing": "?", "port": None, "error": repr(error)})


async def main():
    parser = argparse.ArgumentParser()
    for name, kind in [("port", int), ("seed", int), ("rate", float), ("ca", str), ("site", str), ("app", str), ("big", str)]:
        parser.add_argument(f"--{name}", type=kind)
    parser.add_argument("clients", nargs="+", help="KIND=COUNT")
    options = parser.parse_args()
    if options.big:
        with open(options.big, "rb") as file:
            content = file.read()
        options.big = (len(content), hashlib.sha256(content).hexdigest())
    world = World(options)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, world.stopping.set)
    tallies, tasks = {}, []
    for wanted in options.clients:
        kind, count = wanted.split("=")
        tallies[kind] = Tally()
        tasks += [asyncio.create_task(client(kind, world, tallies[kind])) for _ in range(int(count))]
    print("running", flush=True)
    await asyncio.wait(tasks)
    print(json.dumps({kind: tally.shown() for kind, tally in tallies.items()}), flush=True)


asyncio.run(main())
