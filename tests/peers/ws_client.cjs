// The client of npm's `ws` against our echo server; prints what it saw as JSON.
//
//     ws_client.cjs URL [deflate] [subprotocols] [ca=FILE]
"use strict";
const { once } = require("node:events");
const WebSocket = require("ws");
const { FRAGMENTS, SAMPLES } = require("./samples.cjs");
const secure = require("./secure.cjs");

const [url, ...words] = process.argv.slice(2);
const subprotocols = words.includes("subprotocols") ? ["chat.v3", "echo.v1"] : [];
const options = {
  perMessageDeflate: words.includes("deflate") && { threshold: 0 },
  ...secure.client(),
};

// Opens a WebSocket and collects what it hears, so that no message is lost between two waits.
async function connect() {
  const socket = new WebSocket(url, subprotocols, options);
  const heard = [];
  const waiting = [];
  socket.on("message", (data, binary) => {
    const message = binary ? data : data.toString();
    const waits = waiting.shift();
    if (waits) waits(message);
    else heard.push(message);
  });
  socket.hear = () =>
    heard.length > 0 ? heard.shift() : new Promise((resolve) => waiting.push(resolve));
  const [[response]] = await Promise.all([once(socket, "upgrade"), once(socket, "open")]);
  socket.extensionsOfAnswer = response.headers["sec-websocket-extensions"] ?? null;
  return socket;
}

function isSame(one, other) {
  return typeof one === "string" ? one === other : Buffer.compare(one, other) === 0;
}

async function echoes(socket) {
  const same = [];
  for (const [name, sample] of Object.entries(SAMPLES)) {
    socket.send(sample);
    if (isSame(sample, await socket.hear())) same.push(name);
  }
  FRAGMENTS.forEach((piece, index) => {
    socket.send(piece, { fin: index === FRAGMENTS.length - 1 });
    // A control frame may come between two fragments.
    socket.ping("meanwhile");
  });
  if ((await socket.hear()) === FRAGMENTS.join("")) same.push("fragments");
  return same;
}

async function keepsOrder(socket) {
  const numbers = Array.from({ length: 1000 }, (_, number) => String(number));
  numbers.forEach((number) => socket.send(number));
  for (const number of numbers) if ((await socket.hear()) !== number) return false;
  return true;
}

async function pong(socket) {
  socket.ping("are you there?");
  for (;;) {
    const [payload] = await once(socket, "pong");
    if (payload.toString() === "are you there?") return true;
  }
}

async function answersPing(socket) {
  socket.send("ping");
  return (await socket.hear()) === "pong";
}

// Closes with a code and a reason; returns what the server says about it to somebody else.
async function closes() {
  const watcher = await connect();
  watcher.send("watch");
  await watcher.hear();
  const socket = await connect();
  socket.close(4001, "bye, Jürgen");
  await once(socket, "close");
  const told = await watcher.hear();
  watcher.close();
  return told;
}

async function isClosed() {
  const socket = await connect();
  socket.send("close");
  const [code, reason] = await once(socket, "close");
  return [code, reason.toString()];
}

async function main() {
  const socket = await connect();
  const verdict = {
    subprotocol: socket.protocol || null,
    extensions: socket.extensionsOfAnswer,
    echoes: await echoes(socket),
    keeps_order: await keepsOrder(socket),
    pong: await pong(socket),
    answers_ping: await answersPing(socket),
  };
  socket.close();
  verdict.closes = await closes();
  verdict.is_closed = await isClosed();
  console.log(JSON.stringify(verdict));
}

main();
