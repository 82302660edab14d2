// What every version of the client must be able to do over every transport.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Maxd, until } from "./maxd.js";

const bytes = (...values) => new Uint8Array(values).buffer;
const hex = (buffer) => Buffer.from(buffer).toString("hex");

/// The outcome of a push: its status and its response.
export function outcome(push, ...more) {
  return new Promise((resolve) => {
    for (const status of ["ok", "error", "timeout", ...more]) {
      push.receive(status, (response) => resolve([status, response]));
    }
  });
}

/// Everything a channel is told, as it comes.
function heard(channel, ...events) {
  const all = [];
  for (const event of events) channel.on(event, (payload) => all.push([event, payload]));
  return all;
}

/// `client(token, options)` makes a socket for `maxd.endpoint`; `binary` says whether its
/// transport brings bytes as bytes, `lost` is how it is told that the server went.
export function suite(name, { client, binary, lost }) {
  describe(name, { timeout: 120_000 }, () => {
    let maxd, session, socket;
    const sockets = [];

    const open = (token, options = {}) => {
      const opened = client(maxd, token, {
        rejoinAfterMs: () => 20,
        reconnectAfterMs: () => 20,
        timeout: 4000,
        ...options,
      });
      sockets.push(opened);
      return opened;
    };
    const join = async (topic, params = {}, on = socket) => {
      const channel = on.channel(topic, params);
      const joined = await outcome(channel.join());
      assert.equal(joined[0], "ok", JSON.stringify(joined));
      return [channel, joined[1]];
    };

    before(async () => {
      maxd = await Maxd.start();
      session = await maxd.login("ada");
      socket = open(session.access_token);
      socket.connect();
      await until("the connection", () => socket.isConnected());
    });
    after(async () => {
      for (const opened of sockets) opened.disconnect();
      await maxd.end();
    });

    test("join, reply, error reply, any status", async () => {
      const [channel, reply] = await join("echo:a", { who: "me" });
      assert.deepEqual(reply, { params: { who: "me" }, topic: "echo:a" });
      const payload = { n: 1, u: "é💧", nested: [null, { deep: true }] };
      assert.deepEqual(await outcome(channel.push("ping", payload)), ["ok", payload]);
      assert.deepEqual(await outcome(channel.push("fail", { reason: "nope" })), ["error", { reason: "nope" }]);
      assert.deepEqual(await outcome(channel.push("bare")), ["ok", {}]);
      const custom = channel.push("status", { status: "custom", x: 1 });
      assert.deepEqual(await outcome(custom, "custom"), ["custom", { status: "custom", x: 1 }]);
      assert.deepEqual((await outcome(channel.push("silent", {}, 100)))[0], "timeout");
      const big = await outcome(channel.push("big", { n: 1_000_000 }));
      assert.equal(big[1].data.length, 1_000_000);
    });

    test("a refused join, a topic there is not, a join that crashes", async () => {
      for (const [topic, reason] of [
        ["echo:forbidden", "unauthorized"],
        ["nope:1", "unmatched topic"],
        ["echo:raise", "join crashed"],
      ]) {
        const channel = socket.channel(topic);
        assert.deepEqual(await outcome(channel.join()), ["error", { reason }]);
        channel.leave();
      }
    });

    test("two hundred pushes at once are answered in order", async () => {
      const [channel] = await join("echo:many");
      const answers = [];
      const all = Array.from({ length: 200 }, async (_, n) => {
        const [status, response] = await outcome(channel.push("ping", { n }));
        answers.push([status, response.n]);
      });
      await Promise.all(all);
      assert.deepEqual(answers, Array.from({ length: 200 }, (_, n) => ["ok", n]));
    });

    test("pushes from the server", async () => {
      const [channel] = await join("echo:ticks");
      const ticks = heard(channel, "tick");
      assert.deepEqual(await outcome(channel.push("start", { n: 3, ms: 5 })), ["ok", {}]);
      await until("three ticks", () => ticks.length === 3);
      assert.deepEqual(ticks, [1, 2, 3].map((i) => ["tick", { i, n: 3 }]));
    });

    test("a broadcast reaches every socket on the topic, and no other topic", async () => {
      const second = open(session.access_token);
      second.connect();
      const [channel] = await join("echo:room");
      const [other] = await join("echo:room", {}, second);
      const [elsewhere] = await join("echo:elsewhere");
      const logs = [channel, other, elsewhere].map((joined) => heard(joined, "shout"));
      channel.push("shout", { hi: 1 });
      await until("both shouts", () => logs[0].length === 1 && logs[1].length === 1);
      assert.deepEqual(logs, [[["shout", { hi: 1 }]], [["shout", { hi: 1 }]], []]);
    });

    test("bytes in both directions", async () => {
      const [channel] = await join("echo:bytes");
      const blobs = heard(channel, "blob", "shoutbin");
      const there = bytes(0, 1, 2, 254, 255);
      // Phoenix can't send bytes to a client that polls: they come as base64.
      const seen = (payload) => (binary ? hex(payload) : Buffer.from(payload.data, "base64").toString("hex"));
      for (const [event, status] of [["bin", "ok"], ["binfail", "error"]]) {
        const [got, response] = await outcome(channel.push(event, there));
        assert.deepEqual([got, seen(response)], [status, "000102feff"]);
      }
      assert.equal(seen((await outcome(channel.push("bin", bytes())))[1]), "");
      assert.deepEqual(await outcome(channel.push("pushbin", { hex: "00ff10" })), ["ok", {}]);
      channel.push("shoutbin", bytes(7, 7));
      await until("both", () => blobs.length === 2);
      assert.deepEqual(blobs.map(([event, payload]) => [event, seen(payload)]), [["blob", "00ff10"], ["shoutbin", "0707"]]);
      const large = new Uint8Array(300_000).map((_, n) => n * 7);
      assert.equal(seen((await outcome(channel.push("bin", large.buffer)))[1]), hex(large));
    });

    test("leave, and join again", async () => {
      const [channel] = await join("echo:leave");
      let closed = 0;
      channel.onClose(() => closed++);
      assert.deepEqual(await outcome(channel.leave()), ["ok", {}]);
      await until("the close", () => closed > 0);
      const [again] = await join("echo:leave");
      assert.deepEqual(await outcome(again.push("ping", { n: 2 })), ["ok", { n: 2 }]);
    });

    test("a second join of a topic closes the first", async () => {
      const [first] = await join("echo:twice");
      let closed = 0;
      first.onClose(() => closed++);
      const [second] = await join("echo:twice");
      await until("the first to close", () => closed > 0);
      assert.deepEqual(await outcome(second.push("ping", { n: 1 })), ["ok", { n: 1 }]);
    });

    for (const crash of ["crash", "stop_abnormal"]) {
      test(`${crash}: an error, and the client joins again`, async () => {
        const [channel] = await join(`echo:${crash}`);
        const errors = [];
        let closed = 0;
        channel.onError((reason) => errors.push(reason));
        channel.onClose(() => closed++);
        const before = channel.joinRef();
        channel.push(crash);
        await until("the error", () => errors.length === 1);
        assert.deepEqual(errors, [{ reason: "channel_crash" }]);
        await until("the new join", () => channel.isJoined() && channel.joinRef() !== before);
        assert.deepEqual(await outcome(channel.push("ping", { back: 1 })), ["ok", { back: 1 }]);
        assert.equal(closed, 0);
      });
    }

    for (const stop of ["stop", "stop_reply", "stop_custom"]) {
      test(`${stop}: the channel closes, and the client does not join again`, async () => {
        const [channel] = await join(`echo:${stop}`);
        const errors = [];
        let closed = 0;
        channel.onError((reason) => errors.push(reason));
        channel.onClose(() => closed++);
        const push = channel.push(stop);
        if (stop === "stop_reply") assert.deepEqual(await outcome(push), ["ok", { bye: true }]);
        await until("the close", () => closed > 0);
        // Twice the time after which it would.
        await new Promise((resolve) => setTimeout(resolve, 40));
        assert.deepEqual([channel.state, errors, socket.channels.includes(channel)], ["closed", [], false]);
      });
    }

    test("heartbeats", async () => {
      const beating = open(session.access_token, { heartbeatIntervalMs: 30 });
      let beats = 0;
      beating.onMessage((message) => {
        if (message.topic === "phoenix" && message.payload.status === "ok") beats++;
      });
      beating.connect();
      await until("the connection", () => beating.isConnected());
      if (beating.conn.skipHeartbeat) {
        // Polling needs none, but they are answered.
        await new Promise((resolve) => assert.ok(beating.ping(resolve)));
        assert.equal(beats, 1);
      } else {
        await until("three heartbeats", () => beats >= 3);
        assert.ok(beating.isConnected());
      }
    });

    test("a wrong token, and none, are refused", async () => {
      for (const token of ["acc_wrong", undefined]) {
        const refused = open(token);
        let errors = 0;
        let opened = 0;
        refused.onError(() => errors++);
        refused.onOpen(() => opened++);
        refused.connect();
        await until("the refusal", () => errors > 0);
        refused.disconnect();
        assert.equal(opened, 0);
      }
    });

    test("requests on `control`", async () => {
      const [control, welcome] = await join("control");
      assert.equal(welcome.user, "ada");
      const [status, network] = await outcome(control.push("network:create", { name: "blue" }));
      assert.deepEqual([status, network.name, network.apps], ["ok", "blue", 0]);
      const [failed, error] = await outcome(control.push("network:create", { name: "blue" }));
      assert.deepEqual([failed, error.code, error.field], ["error", "conflict", "name"]);
      assert.equal((await outcome(control.push("no:such")))[1].code, "usage");
      const [, list] = await outcome(control.push("network:list"));
      assert.deepEqual(list.networks.map((found) => found.name), ["blue"]);
      for (let n = 0; n < 12; n++) {
        assert.equal((await outcome(control.push("app:create", { network: "blue", app: `app-${n}` })))[0], "ok");
      }
    });

    test("a log sends as many lines as were granted", async () => {
      const [control] = await join("control");
      const [logs] = await join("logs:network:blue", { follow: true, credit: 5, after: null, tail: null });
      const lines = [];
      logs.on("lines", (payload) => lines.push(...payload.lines));
      await until("the first lines", () => lines.length >= 5);
      await outcome(control.push("app:create", { network: "blue", app: "one-more" }));
      await outcome(control.push("network:list"));
      assert.equal(lines.length, 5);
      logs.push("credit", { lines: 3 });
      await until("three more", () => lines.length >= 8);
      logs.push("credit", { lines: 100 });
      await until("the rest", () => lines.length >= 14);
      const texts = lines.map((line) => line.text);
      const apps = Array.from({ length: 12 }, (_, n) => `app app-${n} created by ada`);
      assert.deepEqual(texts, ["network blue created by ada", ...apps, "app one-more created by ada"]);
      assert.ok(lines.every((line, n) => n === 0 || line.seq > lines[n - 1].seq));
      // A rejoin names the last line.
      const after = lines[9].seq;
      const [rest] = await join("logs:network:blue", { follow: false, credit: 100, after, tail: null });
      const again = heard(rest, "lines", "end");
      await until("the end", () => again.at(-1)?.[0] === "end");
      assert.deepEqual(again[0][1].lines.map((line) => line.text), texts.slice(10));
    });

    test("a client connects again when the server is back, and joins again", async () => {
      const [channel] = await join("echo:restart");
      const before = channel.joinRef();
      const closes = [];
      socket.onClose((event) => closes.push(event.code));
      assert.equal(await maxd.stop(), 0);
      await until("the close", () => closes.length > 0);
      assert.ok(lost.includes(closes[0]), `close code ${closes[0]}`);
      await maxd.serve();
      await until("the new join", () => socket.isConnected() && channel.isJoined() && channel.joinRef() !== before);
      assert.deepEqual(await outcome(channel.push("ping", { back: 1 })), ["ok", { back: 1 }]);
    });

    test("a revoked session is over", async () => {
      const other = await maxd.login("bob");
      const revoked = open(other.access_token);
      const errors = [];
      const closes = [];
      revoked.onError((error) => errors.push(error));
      revoked.onClose((event) => closes.push(event.code));
      revoked.connect();
      const [channel] = await join("echo:revoked", {}, revoked);
      await maxd.request("/api/v1/auth/revoke", {}, other.access_token);
      await until("the close", () => closes.length > 0);
      assert.ok([4001, 1008].includes(closes[0]), `close code ${closes[0]}`);
      // It tries again, and is refused.
      await until("the refusal", () => errors.length > 0);
      revoked.disconnect();
      assert.notEqual(channel.state, "joined");
      assert.ok(socket.isConnected());
    });
  });
}
