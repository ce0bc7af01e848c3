// One chat: what the server knows of it, and what is asked of the server.

import { api } from "../base/api.js";
import { announce } from "../base/notices.js";
import { t } from "../base/texts.js";
import { Socket } from "./socket.js";

const PATIENCE_MS = 1500; // for a socket that does not open: then it goes on without

export class Conversation {
  /** `follower`: changed(), gone(), connection("" | "lost"), failed(error). */
  constructor(thread, follower) {
    this.thread = thread;
    this.follower = follower;
    this.socket = null;
    this.close();
  }

  get path() {
    return `/api/v1/chat/${encodeURIComponent(this.id)}`;
  }

  get answering() {
    const last = this.thread.last;
    return last?.role === "assistant" && last.status === "generating" ? last : null;
  }

  get isBusy() {
    return this.isSending || this.answering !== null;
  }

  close() {
    this.socket?.close();
    Object.assign(this, { id: null, about: null, socket: null, isSending: false, waiting: null });
    this.thread.clear("empty");
    this.follower.connection("");
  }

  /** Shows the chat. Its socket first, then its history: nothing falls between the two. */
  async open(id) {
    this.close();
    this.thread.display("nothing");
    this.id = id;
    this.waiting = [];
    await this.connect();
    await this.sync();
    this.thread.follow.toEnd();
  }

  /** A chat of its own for the first message. */
  async create(settings) {
    const { chat_id: id } = await api("POST", "/api/v1/chat", settings);
    this.id = id;
    this.about = { chat_id: id, settings };
    this.follower.created(id);
    await this.connect();
  }

  connect() {
    return new Promise((resolve) => {
      const opened = () => (clearTimeout(timer), resolve());
      const timer = setTimeout(opened, PATIENCE_MS);
      this.socket = new Socket(this.id, {
        position: () => this.answering?.place ?? null,
        onOpen: (again) => {
          opened();
          this.follower.connection("");
          if (again) this.sync();
        },
        onEvent: (event) => (this.waiting ? this.waiting.push(event) : this.take(event)),
        onLost: (everOpened) => {
          opened();
          this.follower.connection("lost");
          if (!everOpened || navigator.onLine) this.sync(); // it may be that the chat is gone, or the session
        },
      });
    });
  }

  /** The history, and then what the socket told meanwhile. */
  async sync() {
    const id = this.id;
    this.waiting ??= [];
    try {
      const history = await api("GET", `${this.path}/history?render=html`);
      if (id !== this.id) return;
      this.about = history;
      this.thread.reconcile(history.messages);
    } catch (error) {
      if (id !== this.id) return;
      if (error.status === 404) return this.vanish();
      if (!this.about) this.follower.failed(error);
    }
    const events = this.waiting ?? [];
    this.waiting = null;
    for (const event of events) this.take(event);
    this.follower.changed();
  }

  vanish() {
    this.close();
    this.thread.clear("gone");
    this.follower.gone();
  }

  async send(question) {
    await this.ask(question, (told) => {
      if (!this.thread.find(told.message_id)) {
        const content = question.message;
        this.thread.addUser({ id: told.message_id, content, action: question.action ?? null });
      }
    });
  }

  async again() {
    await this.ask({ message: "", regenerate: true }, () => {});
  }

  async ask(question, then) {
    this.isSending = true;
    this.follower.changed();
    const id = this.id;
    try {
      const told = await api("POST", `${this.path}/send_message`, question);
      if (id !== this.id) return;
      if (question.edit) this.thread.dropFrom(question.edit);
      if (question.regenerate && this.thread.last?.role === "assistant" && this.thread.last.id !== told.answer_id) {
        this.thread.dropFrom(this.thread.last.id);
      }
      then(told);
      this.begin(told.answer_id);
    } catch (error) {
      if (error.status === 404 && id === this.id) await this.sync(); // the chat is gone, or what was to be changed in it
      throw error;
    } finally {
      if (id === this.id) this.isSending = false;
      this.follower.changed();
    }
  }

  async stop() {
    if (this.answering) await api("POST", `${this.path}/stop`);
  }

  async change(what) {
    if (this.id) this.about = { ...this.about, ...(await api("PATCH", this.path, what)) };
  }

  begin(answerId, sources) {
    const here = this.thread.find(answerId);
    if (here) return here.restOn(sources);
    this.thread.addAnswer({ id: answerId, model: this.about?.settings?.model }).restOn(sources);
    announce(t("chat.answering"));
  }

  /** An event of the socket. */
  take(event) {
    const answer = event.answer_id && this.thread.find(event.answer_id);
    if (event.status === "message") this.hear(event);
    else if (event.status === "generating") this.begin(event.answer_id, event.sources);
    else if (event.status === "delta") {
      if (!answer) this.begin(event.answer_id);
      const grown = answer || this.thread.find(event.answer_id);
      if (grown.status === "generating" && !grown.add(event)) this.sync(); // something is missing
      return;
    } else if (event.status === "generated" || event.status === "error") this.end(answer, event);
    this.follower.changed();
  }

  /** What somebody said, perhaps in another tab. */
  hear(event) {
    if (event.from_id) this.thread.dropFrom(event.from_id);
    if (event.message_id && !this.thread.find(event.message_id)) {
      this.thread.addUser({ id: event.message_id, content: event.message, action: event.action ?? null });
    }
  }

  end(answer, event) {
    if (!answer) return event.answer_id ? this.sync() : this.follower.failed(new Error(event.message));
    if (answer.status !== "generating") return;
    if (event.status === "error") answer.finish({ status: "error", content: answer.content, error: event.message });
    else {
      const told = { status: event.answer_status, content: event.message, completion_tokens: event.usage?.completion_tokens };
      answer.finish({ ...event, ...told });
    }
    announce(t(event.status === "error" ? "chat.answer_failed" : "chat.answered"));
    this.follower.finished();
  }
}
