// What rig does in benches/logs.rs, by phoenix.js: follow an app's log and write each line
// to standard output. Arguments: URL, access token, topic, lines to begin with, and `runs` to
// take lines that are alike together, as rig does.
import { createRequire } from "node:module";
import { writeSync } from "node:fs";

const require = createRequire(new URL("../tests/interop/", import.meta.url));
const { Socket } = require("phoenix18");
const WebSocket = require("ws");

const [url, authToken, topic, tail, how] = process.argv.slice(2);
const socket = new Socket(`${url.replace("http", "ws")}/socket`, { transport: WebSocket, authToken });
socket.connect();
const credit = 4096;
let taken = 0;
const channel = socket.channel(topic, { follow: true, credit, tail: Number(tail), runs: how === "runs" });

/// The pipe may be full: it is waited for, as rig does.
function write(text) {
  let bytes = Buffer.from(text);
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(1, bytes));
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

channel.on("lines", (payload) => {
  let text = "";
  for (const line of payload.lines) text += line.text + "\n";
  write(text);
  taken += payload.credit;
  if (taken >= credit / 2) {
    channel.push("credit", { lines: taken });
    taken = 0;
  }
});
channel.join().receive("error", (error) => {
  console.error(error);
  process.exit(1);
});
