// phoenix.js 1.8: `authToken` carries the access token, over both transports.

import { LongPoll, Socket } from "phoenix18";
import { WebSocket } from "ws";
import { captured } from "./captured.js";
import { suite } from "./suite.js";

const client = (transport) => (maxd, token, options) =>
  new Socket(maxd.endpoint, { transport, authToken: token, ...options });

suite("phoenix.js 1.8, WebSocket", { client: client(WebSocket), binary: true, lost: [1001] });
suite("phoenix.js 1.8, long polling", { client: client(LongPoll), binary: false, lost: [3410, 1011] });
captured({ Socket, WebSocket });
