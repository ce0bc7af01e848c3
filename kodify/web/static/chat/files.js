// Files on their way into a message: chosen, dropped or pasted.

import { find, h, icon, iconButton } from "../base/dom.js";
import { notify } from "../base/notices.js";
import { bytes, t } from "../base/texts.js";
import { languageOf } from "./attachments.js";

const MOST_BYTES = 512 * 1024;
const MOST_BYTES_IN_ALL = 1024 * 1024;
const MOST_FILES = 20;
const LONG_PASTE = 30; // lines of a pasted text that becomes a file
const FORMAT = { fatal: true, ignoreBOM: true };

export class Files {
  /** `onChanged()`: whenever there are others. */
  constructor(onChanged) {
    this.onChanged = onChanged;
    this.list = [];
    this.pasted = 0;
    this.place = find("#files");
    const chooser = find("#chooser");
    find("#attach").addEventListener("click", () => chooser.click());
    chooser.addEventListener("change", async () => {
      await this.add([...chooser.files]);
      chooser.value = "";
    });
    this.watchDrops();
  }

  /** The browser's files, as far as they are text and not too large. */
  async add(files) {
    for (const file of files.slice(0, MOST_FILES)) {
      const name = file.webkitRelativePath || file.name;
      const text = file.size > MOST_BYTES ? null : await read(file);
      if (file.size > MOST_BYTES) notify(t("chat.too_large", { name, most: bytes(MOST_BYTES) }), { bad: true });
      else if (text === null) notify(t("chat.not_text", { name }), { bad: true });
      else this.put(name, text);
    }
    this.show();
  }

  /** Whether the text is long enough to be a file; then it is one now. */
  addPasted(text) {
    if (text.split("\n").length < LONG_PASTE || text.length > MOST_BYTES) return false;
    this.pasted += 1;
    this.put(t("chat.pasted", { number: this.pasted }), text);
    this.show();
    return true;
  }

  put(path, text) {
    const others = this.list.filter((file) => file.path !== path);
    const size = others.reduce((sum, file) => sum + file.text.length, text.length);
    if (size > MOST_BYTES_IN_ALL || others.length >= MOST_FILES) {
      notify(t("chat.too_much", { most: bytes(MOST_BYTES_IN_ALL) }), { bad: true });
      return;
    }
    this.list = [...others, { path, text, language: languageOf(path) }];
  }

  set(files) {
    this.list = files;
    this.show();
  }

  /** What was attached; nothing is any more. */
  take() {
    const files = this.list;
    this.set([]);
    return files;
  }

  show() {
    this.place.hidden = !this.list.length;
    this.place.replaceChildren(...this.list.map((file) => this.chip(file)));
    this.onChanged();
  }

  chip(file) {
    const label = t("chat.remove_file", { name: file.path });
    const remove = () => {
      this.set(this.list.filter((each) => each !== file));
      find("#question").focus();
    };
    return h("li", {}, icon("file"), h("b", { title: file.path }, file.path), h("small", {}, bytes(file.text.length)), iconButton("close", label, remove));
  }

  watchDrops() {
    const veil = find("#drop");
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      veil.hidden = Boolean(find("dialog[open]"));
    });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) veil.hidden = true;
    });
    addEventListener("drop", (event) => {
      veil.hidden = true;
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.add([...event.dataTransfer.files]);
      find("#question").focus();
    });
  }
}

/** The file's text, or null where it is no text. */
async function read(file) {
  try {
    const text = new TextDecoder("utf-8", FORMAT).decode(await file.arrayBuffer());
    return text.includes("\0") ? null : text.replace(/^\ufeff/, "");
  } catch {
    return null;
  }
}
