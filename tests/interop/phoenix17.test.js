// phoenix.js 1.7 has no `authToken`. The access token goes where 1.8 puts it: a transport
// of one's own names the subprotocols, and an XMLHttpRequest of one's own adds the header.

import { TOKENS } from "./xhr.js";
import { LongPoll, Socket } from "phoenix17";
import { WebSocket } from "ws";
import { suite } from "./suite.js";

function webSocket(maxd, token, options) {
  const encoded = Buffer.from(token ?? "").toString("base64").replace(/=/g, "");
  class Authenticated extends WebSocket {
    constructor(url) {
      super(url, ["phoenix", `base64url.bearer.phx.${encoded}`]);
    }
  }
  return new Socket(maxd.endpoint, { transport: Authenticated, ...options });
}

let clients = 0;

function longPoll(maxd, token, options) {
  const name = `c${++clients}`;
  TOKENS.set(name, token);
  return new Socket(maxd.endpoint, { transport: LongPoll, params: { client: name }, ...options });
}

suite("phoenix.js 1.7, WebSocket", { client: webSocket, binary: true, lost: [1001] });
suite("phoenix.js 1.7, long polling", { client: longPoll, binary: false, lost: [1011] });
