// A server made of npm's `ws`, for our client; prints its port.
//
//     ws_server.cjs [deflate] [certificate=FILE key=FILE]
//
// It echoes, but for `close`, `ping` and `fragments`: it does that. For each connection that ends it
// prints as JSON what it saw of it.
"use strict";
const { WebSocketServer } = require("ws");
const { FRAGMENTS } = require("./samples.cjs");

const carrier = require("./secure.cjs").server();

const server = new WebSocketServer({
  server: carrier,
  maxPayload: 4 * 1024 * 1024,
  perMessageDeflate: process.argv.includes("deflate") && { threshold: 0 },
  handleProtocols: (offered) => (offered.has("echo.v1") ? "echo.v1" : false),
});

server.on("headers", (headers, request) => {
  const line = headers.find((header) => header.startsWith("Sec-WebSocket-Extensions: "));
  request.extensions = line?.slice("Sec-WebSocket-Extensions: ".length) ?? null;
});

server.on("connection", (socket, request) => {
  socket.on("message", (data, binary) => {
    const message = binary ? data : data.toString();
    if (message === "close") socket.close(4002, "told to, Jürgen");
    else if (message === "ping") socket.ping("are you there?");
    else if (message === "fragments") {
      FRAGMENTS.forEach((piece, index) => {
        socket.send(piece, { fin: index === FRAGMENTS.length - 1 });
        socket.ping("meanwhile");
      });
    } else socket.send(message);
  });
  socket.on("pong", (payload) => {
    if (payload.toString() === "are you there?") socket.send("pong");
  });
  socket.on("close", (code, reason) => {
    console.log(JSON.stringify({
      subprotocol: socket.protocol || null,
      extensions: request.extensions,
      path: request.url,
      closed: [code, reason.toString()],
    }));
  });
});

carrier.listen(0, "127.0.0.1", () => console.log("port", carrier.address().port));
// Until whoever started us closes our input.
process.stdin.resume().on("end", () => process.exit(0));
