// The client of the captures does again what it did when they were made, now against maxd:
// every frame, of the client and of the server, must be the one that was captured.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { Maxd, until } from "./maxd.js";
import { outcome } from "./suite.js";

const FILE = new URL("../data/phoenix-frames.txt", import.meta.url);

/// The frames of the scenarios over a WebSocket, from the first to the one before `last`,
/// without what somebody else said in the capture.
function frames(last) {
  const text = readFileSync(FILE, "utf8").split("\n##### C. ")[1];
  const scenarios = text.slice(0, text.indexOf(`\n## ws: ${last}`));
  return scenarios.split("\n").filter((line) => /^(->|<-) /.test(line) && !line.includes('"ext"'));
}

const written = (data) =>
  typeof data === "string"
    ? `TEXT ${data}`
    : `BIN  ${Buffer.from(data).toString("hex").replace(/..(?=.)/g, "$& ")}`;

export function captured({ Socket, WebSocket }) {
  describe("the captured conversation of phoenix.js 1.8.16", { timeout: 60_000 }, () => {
    let maxd;
    before(async () => {
      maxd = await Maxd.start();
    });
    after(() => maxd.end());

    test("maxd says what Phoenix said, byte for byte", async () => {
      const { access_token } = await maxd.login("ada");
      const log = [];
      class Recorded extends WebSocket {
        constructor(...args) {
          super(...args);
          this.on("message", (data, binary) => log.push(`<- ${written(binary ? data : data.toString())}`));
        }
        send(data) {
          log.push(`-> ${written(data)}`);
          super.send(data);
        }
      }
      let rejoin = 10_000;
      const socket = new Socket(maxd.endpoint, {
        transport: Recorded,
        authToken: access_token,
        rejoinAfterMs: () => rejoin,
      });
      // Their client had counted so far.
      socket.ref = 3;
      socket.connect();
      const bytes = (...values) => new Uint8Array(values).buffer;
      const expected = frames("duplicate join");
      const heard = (count) => until(`frame ${count}`, () => log.length >= count);
      /// Until as much has been said as in the capture up to the next thing the client says.
      const settled = () => {
        let count = log.length;
        while (expected[count]?.startsWith("<-")) count++;
        return heard(count);
      };
      const join = async (topic, params) => {
        const channel = socket.channel(topic, params);
        await outcome(channel.join());
        return channel;
      };

      const a = await join("echo:a", { who: "me" });
      for (const [event, payload] of [
        ["ping", { n: 1, u: "é💧" }],
        ["fail", { reason: "nope" }],
        ["bare", {}],
        ["status", { status: "custom", x: 1 }],
        ["start", { n: 3, ms: 20 }],
        ["bin", bytes(0, 1, 2, 254, 255)],
        ["binfail", bytes(9, 8)],
        ["pushbin", { hex: "00ff10" }],
        ["shoutbin", bytes(7, 7, 7)],
        ["shout", { hi: 1 }],
      ]) {
        a.push(event, payload);
        await settled();
      }
      for (const topic of ["echo:forbidden", "nope:1", "echo:raise"]) {
        const refused = await join(topic);
        refused.rejoinTimer.reset();
      }
      a.push("silent", {});
      a.push("slow", { ms: 100 });
      await settled();
      rejoin = 20;
      a.push("crash", {});
      await until("the rejoin", () => a.isJoined() && a.joinRef() === "29");
      for (const stop of ["stop", "stop_reply", "stop_custom", "stop_abnormal"]) {
        const channel = await join(`echo:${stop}`);
        rejoin = 10_000;
        channel.push(stop, {});
        await settled();
        channel.rejoinTimer.reset();
      }
      const left = await join("echo:leave");
      left.leave();
      await settled();
      socket.disconnect();
      assert.deepEqual(log, expected);
      assert.ok(expected.length > 60, `${expected.length} frames`);
    });
  });
}
