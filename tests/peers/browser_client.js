// The WebSocket of a browser's page against our echo server; leaves what it saw in `verdict`.
// The test calls it with the server's address and the subprotocols to ask for.
"use strict";

const LONG = 1024 * 1024;

const SAMPLES = {
  text: "hello",
  empty: "",
  unicode: "Grüße, 世界, 👋🏽, \u0000, \u200b",
  "large text": "0123456789abcdé 世界 ".repeat(LONG / 24),
  binary: Uint8Array.from({ length: 256 }, (_, value) => value),
  // Noise of the same kind every time; what a xorshift makes does not deflate.
  "large binary": noise(LONG),
};

function noise(length) {
  let state = 1;
  return Uint8Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  });
}

// Opens a WebSocket and collects what it hears, so that no message is lost between two waits.
async function connect(url, subprotocols) {
  const socket = new WebSocket(url, subprotocols);
  socket.binaryType = "arraybuffer";
  const heard = [];
  const waiting = [];
  socket.onmessage = ({ data }) => {
    const waits = waiting.shift();
    if (waits) waits(data);
    else heard.push(data);
  };
  socket.hear = () =>
    heard.length > 0 ? heard.shift() : new Promise((resolve) => waiting.push(resolve));
  socket.ended = new Promise((resolve) => {
    socket.onclose = ({ code, reason, wasClean }) => resolve([code, reason, wasClean]);
  });
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("cannot connect"));
  });
  return socket;
}

function isSame(one, other) {
  if (typeof one === "string") return one === other;
  const bytes = new Uint8Array(other);
  return one.length === bytes.length && one.every((byte, index) => byte === bytes[index]);
}

async function echoes(socket) {
  const same = [];
  for (const [name, sample] of Object.entries(SAMPLES)) {
    socket.send(sample);
    if (isSame(sample, await socket.hear())) same.push(name);
  }
  return same;
}

async function keepsOrder(socket) {
  const numbers = Array.from({ length: 1000 }, (_, number) => String(number));
  numbers.forEach((number) => socket.send(number));
  for (const number of numbers) if ((await socket.hear()) !== number) return false;
  return true;
}

async function answersPing(socket) {
  socket.send("ping");
  return (await socket.hear()) === "pong";
}

// Closes with a code and a reason; returns what the server says about it to somebody else.
async function closes(url, subprotocols) {
  const watcher = await connect(url, subprotocols);
  watcher.send("watch");
  await watcher.hear();
  const socket = await connect(url, subprotocols);
  socket.close(4001, "bye, Jürgen");
  const [code, reason, wasClean] = await socket.ended;
  return [await watcher.hear(), code, reason, wasClean];
}

async function isClosed(url, subprotocols) {
  const socket = await connect(url, subprotocols);
  socket.send("close");
  return socket.ended;
}

async function verdictOf(url, subprotocols) {
  const socket = await connect(url, subprotocols);
  return {
    subprotocol: socket.protocol,
    extensions: socket.extensions,
    echoes: await echoes(socket),
    keeps_order: await keepsOrder(socket),
    answers_ping: await answersPing(socket),
    closes: await closes(url, subprotocols),
    is_closed: await isClosed(url, subprotocols),
  };
}

window.start = (url, subprotocols) => {
  verdictOf(url, subprotocols)
    .catch((error) => String(error))
    .then((verdict) => { window.verdict = verdict; });
};
