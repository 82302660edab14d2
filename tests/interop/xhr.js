// As much of a browser as phoenix.js 1.7 needs for long polling: `self`, and an
// XMLHttpRequest. It adds the access token of the client, which is found by the URL's
// parameter `client`; no server looks at that.

globalThis.self ??= globalThis;

/// The access token of each client.
export const TOKENS = new Map();

globalThis.XMLHttpRequest = class {
  headers = {};
  readyState = 0;
  controller = new AbortController();

  open(method, url) {
    this.method = method;
    this.url = url;
    const token = TOKENS.get(new URL(url).searchParams.get("client"));
    if (token) this.headers["X-Phoenix-AuthToken"] = token;
  }

  setRequestHeader(name, value) {
    this.headers[name] = value;
  }

  send(body) {
    const { method, headers } = this;
    const timer = this.timeout && setTimeout(() => this.abort(this.ontimeout), this.timeout);
    fetch(this.url, { method, headers, body: body ?? undefined, signal: this.controller.signal })
      .then((answer) => answer.text())
      .then(
        (text) => {
          this.responseText = text;
          this.readyState = 4;
          this.onreadystatechange();
        },
        (error) => error.name !== "AbortError" && this.onerror(),
      )
      .finally(() => clearTimeout(timer));
  }

  abort(why) {
    this.controller.abort();
    why?.();
  }
};
