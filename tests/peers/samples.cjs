// The messages that every peer sends and gets back; tests/peers/samples.py has the same.
"use strict";
const { createHash } = require("node:crypto");

const LONG = 1024 * 1024;

// Bytes that look random and are the same each time.
const noise = Array.from({ length: LONG / 32 }, (_, block) =>
  createHash("sha256").update(`block ${block}`).digest());

exports.FRAGMENTS = ["one ", "message ", "in ", "fünf ", "pieces"];

exports.SAMPLES = {
  text: "hello",
  empty: "",
  unicode: "Grüße, 世界, 👋🏽, \u0000, \u200b",
  "large text": "0123456789abcdé 世界 ".repeat(LONG / 24),
  binary: Buffer.from(Array.from({ length: 256 }, (_, value) => value)),
  "large binary": Buffer.concat(noise),
};
