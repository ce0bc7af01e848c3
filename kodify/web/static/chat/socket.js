// A chat's WebSocket: comes back by itself, with longer and longer pauses.

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

export class Socket {
  /** `position()`: how far the answer on its way is shown here, {id, characters, settled}, or null.
   * `onOpen(again)`, `onEvent(event)`, `onLost(everOpened)`: after it a new try is on its way, unless closed. */
  constructor(chatId, { position, onOpen, onEvent, onLost }) {
    Object.assign(this, { chatId, position, onOpen, onEvent, onLost });
    this.tries = 0;
    this.opened = 0;
    this.closed = false;
    this.hurry = () => this.timer && this.connect();
    addEventListener("online", this.hurry);
    document.addEventListener("visibilitychange", this.hurry);
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = null;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const at = this.position();
    const after = at ? `&after=${encodeURIComponent(at.id)}:${at.characters}:${at.settled}` : "";
    const socket = new WebSocket(`${scheme}://${location.host}/api/v1/chat/${encodeURIComponent(this.chatId)}/ws?render=html${after}`);
    this.socket = socket;
    socket.onopen = () => {
      this.tries = 0;
      this.opened += 1;
      this.onOpen(this.opened > 1);
    };
    socket.onmessage = (message) => this.onEvent(JSON.parse(message.data));
    socket.onclose = () => this.again(socket);
  }

  again(socket) {
    if (this.closed || socket !== this.socket) return;
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** this.tries, LONGEST_PAUSE_MS) * (0.75 + Math.random() / 2);
    this.tries += 1;
    this.timer = setTimeout(() => this.connect(), pause);
    this.onLost(this.opened > 0);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    removeEventListener("online", this.hurry);
    document.removeEventListener("visibilitychange", this.hurry);
    this.socket.close();
  }
}
