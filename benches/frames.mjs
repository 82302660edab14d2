// What benches/frames.rs measures of rig, by phoenix.js: decode a frame and hand it to
// its channel's handler. Frames a second, the best of so many rounds.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(new URL("../tests/interop/", import.meta.url));
const { Socket } = require("phoenix18");

class Silent {
  constructor() { this.readyState = 1; }
  send() {}
  close() {}
}

const frames = readFileSync(0, "utf8").split("\n");
let best = Infinity;
for (let round = 0; round < Number(process.argv[2]); round++) {
  const socket = new Socket("ws://127.0.0.1:1/socket", { transport: Silent, heartbeatIntervalMs: 1e9 });
  socket.connect();
  const channel = socket.channel("logs:app:blue:web", {});
  let seen = 0;
  channel.on("lines", () => { seen++; });
  channel.join();
  const ref = channel.joinRef() ?? "1";
  const mine = frames.map((frame) => frame.replace('["2"', `["${ref}"`));
  const started = process.hrtime.bigint();
  for (const data of mine) socket.onConnMessage({ data });
  const took = Number(process.hrtime.bigint() - started) / 1e9;
  if (seen !== frames.length) throw new Error(`${seen} of ${frames.length} frames arrived`);
  best = Math.min(best, took);
}
console.log(frames.length / best);
process.exit(0);
