// A maxd of its own on free ports, with the topics `echo:…` open, and tokens for it.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MAXD = process.env.MAXD ?? new URL("../../target/debug/maxd", import.meta.url).pathname;

/// Waits until `probe` gives something; fails when it takes too long.
export async function until(what, probe) {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited too long for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export class Maxd {
  static async start() {
    const maxd = new Maxd();
    maxd.dir = mkdtempSync(join(tmpdir(), "interop-"));
    maxd.data = join(maxd.dir, "data");
    maxd.listen = "127.0.0.1:0";
    await maxd.serve();
    return maxd;
  }

  /// Starts it (again), at the address it had.
  async serve() {
    const ready = join(this.dir, "ready");
    rmSync(ready, { force: true });
    const log = openSync(join(this.dir, "log"), "a");
    const flags = ["--domain", "localhost", "--listen", this.listen, "--apps-listen", "127.0.0.1:0"];
    this.child = spawn(MAXD, ["serve", "--data", this.data, "--ready-file", ready, ...flags], {
      env: { ...process.env, MAXD_TEST: "topics,window=2000" },
      stdio: ["ignore", log, log],
    });
    const file = await until("maxd to be ready", () => {
      if (this.child.exitCode !== null) throw new Error(`maxd ended: ${this.log()}`);
      try {
        return readFileSync(ready, "utf8");
      } catch {
        return null;
      }
    });
    this.url = JSON.parse(file).url;
    this.listen = this.url.slice("http://".length);
  }

  /// SIGTERM; its exit code.
  async stop() {
    this.child.kill("SIGTERM");
    await until("maxd to stop", () => this.child.exitCode !== null || this.child.signalCode !== null);
    return this.child.exitCode;
  }

  async end() {
    await this.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }

  log() {
    return readFileSync(join(this.dir, "log"), "utf8");
  }

  /// A session of `user`: an API token, exchanged over HTTP.
  async login(user) {
    const token = execFileSync(MAXD, ["token", "create", "--data", this.data, "--user", user], { encoding: "utf8" });
    return this.request("/api/v1/auth/exchange", { token: token.trim() });
  }

  async request(path, body, token) {
    const headers = { "content-type": "application/json" };
    if (token) headers.authorization = `Bearer ${token}`;
    const answer = await fetch(this.url + path, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: HTTP ${answer.status}`);
    return answer.status === 204 ? null : answer.json();
  }

  /// Where a client connects.
  get endpoint() {
    return this.url.replace("http://", "ws://") + "/socket";
  }
}
