"""Uploads, downloads, an event stream and a websocket on FastAPI: python -m uvicorn main:app --app-dir . --port PORT"""

import asyncio
import hashlib

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.post("/upload")
@app.put("/upload")
async def upload(request: Request):
    """Reads the body piece by piece and says how much it was; nothing is kept."""
    size, digest = 0, hashlib.sha256()
    async for piece in request.stream():
        size += len(piece)
        digest.update(piece)
    return {"bytes": size, "sha256": digest.hexdigest(), "length": request.headers.get("content-length")}


@app.get("/download/{size}")
async def download(size: int):
    """Sends so many bytes, without saying beforehand how many."""
    piece = bytes(range(256)) * 256

    async def pieces():
        left = size
        while left > 0:
            yield piece[:left]
            left -= len(piece)

    return StreamingResponse(pieces(), media_type="application/octet-stream")


@app.get("/events")
async def events():
    """Sends an event every 100 ms for as long as somebody listens."""

    async def lines():
        count = 0
        while True:
            count += 1
            yield f"id: {count}\ndata: event {count}\n\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(lines(), media_type="text/event-stream")


@app.websocket("/live")
async def live(socket: WebSocket):
    """Echoes text messages."""
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass
