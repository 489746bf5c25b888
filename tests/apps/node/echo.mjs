// A websocket echo and an event stream: node echo.mjs PORT
// GET /live with Upgrade: each message comes back as it was; GET /events: three events a second; else JSON about the request.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.NODE_MODULES, "package.json"));
const { WebSocketServer } = require("ws");

const server = createServer((request, response) => {
  if (request.url === "/events") {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    let count = 0;
    const timer = setInterval(() => response.write(`id: ${++count}\ndata: event ${count}\n\n`), 333);
    response.on("close", () => clearInterval(timer));
    return;
  }
  const body = JSON.stringify({ url: request.url, version: request.httpVersion, headers: request.headers });
  response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
});

const sockets = new WebSocketServer({ server, path: "/live", maxPayload: 32 << 20 });
sockets.on("connection", (socket) => {
  socket.on("message", (data, binary) => socket.send(data, { binary }));
});

server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log(`ready ${server.address().port}`));
