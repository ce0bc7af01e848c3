// The side list of conversations.

import { api } from "../base/api.js";
import { confirm, openMenu } from "../base/dialogs.js";
import { find, h, iconButton } from "../base/dom.js";
import { notify } from "../base/notices.js";
import { showProblem } from "../base/problems.js";
import { onLanguage, relativeTime, t } from "../base/texts.js";
import { until } from "./expiry.js";

const TITLE_LENGTH = 120;
const EACH_MINUTE_MS = 60_000;

export class Chats {
  /** `onDeleted(id)`, `onRenamed(id, title)`. */
  constructor({ onDeleted, onRenamed }) {
    Object.assign(this, { onDeleted, onRenamed });
    this.place = find("#chats");
    this.list = [];
    this.current = null;
    this.renamed = null; // the one whose title is being changed
    this.otherTabs = new BroadcastChannel("kodify.chats");
    this.otherTabs.onmessage = () => this.load();
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.load());
    setInterval(() => this.show(), EACH_MINUTE_MS); // the words for times grow old
    onLanguage(() => this.show());
  }

  async load() {
    try {
      this.list = (await api("GET", "/api/v1/chats")).data;
    } catch (error) {
      if (error.status !== 401 && !this.list.length) showProblem(error, () => this.load());
    }
    this.show();
  }

  /** Something has changed that the list shows. */
  async changed() {
    this.otherTabs.postMessage("changed");
    await this.load();
  }

  select(id) {
    this.current = id;
    this.show();
  }

  show() {
    if (this.renamed) return; // not under the reader's fingers
    const shown = this.list.filter((chat) => until(chat.expires_at) > 0);
    find("#no-chats").hidden = shown.length > 0;
    const focused = document.activeElement?.closest?.("#chats li")?.dataset.id;
    this.place.replaceChildren(...shown.map((chat) => this.entry(chat)));
    if (focused) find(`#chats li[data-id="${CSS.escape(focused)}"] a`)?.focus();
  }

  entry(chat) {
    const { chat_id: id, title, running } = chat;
    const name = title || t("chat.new_title");
    const isCurrent = id === this.current;
    const when = t("chat.expires", { when: relativeTime(until(chat.expires_at)) });
    const link = h(
      "a",
      { href: `#${id}`, title: name, "aria-current": isCurrent ? "page" : null },
      h("span.name", {}, name),
      h("span.when", {}, when),
    );
    const more = iconButton("more", t("chat.more_of", { title: name }), () => openMenu(more, this.menu(chat)));
    more.classList.add("small");
    more.setAttribute("aria-haspopup", "menu");
    const entry = h("li.chat", { data: { id } }, link, more);
    entry.classList.toggle("current", isCurrent);
    entry.classList.toggle("running", Boolean(running));
    return entry;
  }

  menu(chat) {
    return [
      { label: t("chat.rename"), icon: "edit", run: () => this.rename(chat) },
      { label: t("chat.delete"), icon: "trash", risky: true, run: () => this.remove(chat) },
    ];
  }

  rename(chat) {
    const entry = find(`#chats li[data-id="${CSS.escape(chat.chat_id)}"]`);
    if (!entry) return;
    this.renamed = chat.chat_id;
    const field = h("input", { value: chat.title ?? "", maxLength: TITLE_LENGTH, "aria-label": t("chat.title_field") });
    const leave = async (title) => {
      if (!this.renamed) return;
      this.renamed = null;
      if (title && title !== chat.title) await this.setTitle(chat, title);
      this.show();
      find(`#chats li[data-id="${CSS.escape(chat.chat_id)}"] a`)?.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") leave(field.value.trim());
      else if (event.key === "Escape") leave(null);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    field.addEventListener("blur", () => leave(field.value.trim()));
    entry.replaceChildren(field);
    field.select();
  }

  async setTitle(chat, title) {
    try {
      await api("PATCH", `/api/v1/chat/${encodeURIComponent(chat.chat_id)}`, { title });
      chat.title = title;
      this.onRenamed(chat.chat_id, title);
      this.otherTabs.postMessage("changed");
    } catch (error) {
      showProblem(error);
    }
  }

  async remove(chat) {
    const title = chat.title || t("chat.new_title");
    const text = t("chat.delete_text", { title });
    if (!(await confirm({ title: t("chat.delete_title"), text, yes: t("chat.delete"), danger: true }))) return;
    try {
      await api("DELETE", `/api/v1/chat/${encodeURIComponent(chat.chat_id)}`);
    } catch (error) {
      if (error.status !== 404) return showProblem(error, () => this.remove(chat));
    }
    this.onDeleted(chat.chat_id);
    notify(t("chat.deleted"));
    await this.changed();
  }

  of(id) {
    return this.list.find((chat) => chat.chat_id === id) ?? null;
  }
}
