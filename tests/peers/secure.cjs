// TLS of the Node peers, from words of their command line: `ca=FILE`, whom a client trusts instead of
// those whom Node trusts; `certificate=FILE` and `key=FILE`, what a server shows.
"use strict";
const { readFileSync } = require("node:fs");

function file(name) {
  const word = process.argv.find((word) => word.startsWith(`${name}=`));
  return word && readFileSync(word.slice(name.length + 1));
}

exports.client = () => ({ ca: file("ca") });

exports.server = () => {
  const key = file("key");
  return key
    ? require("node:https").createServer({ cert: file("certificate"), key })
    : require("node:http").createServer();
};
