"""One of several equal applications: says its name, and can be slow, torn, busy or unwell when it is asked to.

Started as `app.py NAME PORT`; prints `ready PORT`. Only the standard library.
"""

import http.server
import socket
import struct
import sys
import time
import urllib.parse

NAME, PORT = sys.argv[1], int(sys.argv[2])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    is_well = True

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/slow":
            time.sleep(int(url.query) / 1000)
        if url.path == "/torn":
            self.send_response(200)
            self.send_header("content-length", "1000000")
            self.end_headers()
            self.wfile.write(b"half")
            self.wfile.flush()
            # Closing with something unread and no time to linger is a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        if url.path in ("/ill", "/well"):
            Handler.is_well = url.path == "/well"
        status = 200 if url.path != "/health" or Handler.is_well else 503
        self.answer(status, NAME)

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(200, NAME)

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


with Server(("127.0.0.1", PORT), Handler) as server:
    print("ready", server.server_port, flush=True)
    server.serve_forever()
