// A WebSocket that comes back by itself. Knows nothing of chats: it says when it is up, hands over
// each message, and says when it is down and when it will try again.

// The first retry is quick, for a server that was merely restarted; the last ones are rare, for one
// that is gone. Jitter spreads a thousand pages that lost the same server.
const FIRST_DELAY = 400;
const LONGEST_DELAY = 20_000;

// A server that is reached answers within this.
const OPEN_LIMIT = 10_000;

// The server speaks at least every 20 s (ping), so this long a silence is a dead line.
const SILENCE_LIMIT = 50_000;

export class Line {
  #url;
  #on;
  #socket = null;
  #attempts = 0;
  #timer = 0;
  #heard = 0;

  // `on` has the callbacks `up()`, `message(data)`, `connecting()` and `down(delay)`.
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    setInterval(() => this.#watch(), 5_000);
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.retry();
    });
  }

  open() {
    this.close();
    this.#attempts = 0;
    this.#connect();
  }

  close() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#abandon();
  }

  // Returns whether the message was handed to the browser.
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  // The other side accepted us: the next loss starts again with a short delay. Not done on the mere
  // opening, since a server that accepts and then fails would be called again and again at once.
  settled() {
    this.#attempts = 0;
  }

  // Tries now, if it is waiting to try.
  retry() {
    if (!this.#timer) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  #connect() {
    this.#timer = 0;
    this.#heard = Date.now();
    this.#on.connecting();
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => {
      this.#heard = Date.now();
      this.#on.up();
    };
    socket.onmessage = (event) => {
      this.#heard = Date.now();
      this.#on.message(event.data);
    };
    socket.onclose = () => this.#lost();
  }

  #watch() {
    if (!this.#socket) return;
    const limit = this.#socket.readyState === WebSocket.CONNECTING ? OPEN_LIMIT : SILENCE_LIMIT;
    if (Date.now() - this.#heard > limit) this.#lost();
  }

  #lost() {
    this.#abandon();
    const full = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#attempts);
    this.#attempts += 1;
    const delay = full * (0.5 + Math.random() / 2);
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#on.down(delay);
  }

  // Its closing handshake may take a while on a dead line; nobody waits for it.
  #abandon() {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }
}
