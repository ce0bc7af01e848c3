// What an answer rests on: where each passage stands, a link to it, and the text that was found.

import { h, icon, iconButton } from "../base/dom.js";
import { t } from "../base/texts.js";
import { collectionTitle } from "./collections.js";

const FEW = 5; // that are seen at once
const PAGED = new Set(["pdf"]);
const WITHOUT_LINES = new Set(["docx", "html"]); // places in them are no lines of the file

/** "lines 3–9", "page 2"; "" where the place is none that a reader would find. */
export function placeOf({ language, start_line: start, end_line: end }) {
  if (!start || WITHOUT_LINES.has(language)) return "";
  const unit = PAGED.has(language) ? "page" : "line";
  return start === end ? t(`chat.source_${unit}`, { start }) : t(`chat.source_${unit}s`, { start, end });
}

/** The address of a source in its repository, or null: http and https only, whatever the server says. */
export function linkOf({ url }) {
  if (!URL.canParse(url ?? "")) return null;
  const { protocol, href } = new URL(url);
  return protocol === "https:" || protocol === "http:" ? href : null;
}

export class Sources {
  constructor() {
    this.list = null; // null: nothing was looked for
    this.told = "";
    this.isWhole = false;
    this.opened = new Set(); // whose texts are shown
    this.element = h("section.sources", { hidden: true });
  }

  set(list) {
    const told = JSON.stringify(list ?? null);
    if (told === this.told) return;
    this.told = told;
    this.list = list ?? null;
    this.opened.clear();
    this.show();
  }

  show() {
    this.element.hidden = !this.list;
    if (!this.list) return;
    this.element.setAttribute("aria-label", t("chat.sources"));
    if (!this.list.length) return this.element.replaceChildren(h("p", {}, icon("book"), h("span", {}, t("chat.sources_none"))));
    const seen = this.isWhole ? this.list : this.list.slice(0, FEW);
    const rest = this.list.length - seen.length;
    this.element.replaceChildren(
      h("p", {}, icon("book"), h("span", {}, t("chat.sources"))),
      h("ol", {}, ...seen.map((source, at) => this.entry(source, at))),
      ...(rest > 0 ? [this.more(rest)] : []),
    );
  }

  more(count) {
    const onclick = () => {
      this.isWhole = true;
      this.show();
      this.element.querySelectorAll("li")[FEW].querySelector("a, button")?.focus();
    };
    return h("button.quiet.small", { type: "button", onclick }, t("chat.sources_more", { count }));
  }

  entry(source, at) {
    const { path, title, collection, text } = source;
    const url = linkOf(source);
    const facts = [placeOf(source), title, collectionTitle(collection)].filter(Boolean);
    const entry = h("li", {});
    const toggle = (button) => this.toggle(at, entry, button);
    const name = h("b", {}, path);
    let place = name;
    if (url) place = h("a.place", { href: url, target: "_blank", rel: "noopener noreferrer", title: t("chat.source_open") }, name, icon("outside"));
    else if (text) place = h("button.place", { type: "button", "aria-expanded": "false", onclick: () => toggle(place) }, name, icon("chevron"));
    const label = t("chat.source_text", { path });
    const button = url && text ? iconButton("chevron", label, () => toggle(button), { "aria-expanded": "false" }) : null;
    entry.append(h("div.source", {}, h("i", {}, String(at + 1)), h("div", {}, h("span", {}, place, button), h("small", {}, ...parted(facts)))));
    if (this.opened.has(at)) toggle(button ?? place);
    return entry;
  }

  toggle(at, entry, button) {
    const isOpen = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) {
      this.opened.delete(at);
      return entry.querySelector("pre").remove();
    }
    this.opened.add(at);
    const { path, text } = this.list[at];
    entry.append(h("pre", { tabIndex: 0, role: "region", "aria-label": t("chat.source_found", { path }) }, text));
    entry.scrollIntoView({ block: "nearest" });
  }
}

/** Each fact by itself, so that lines break between them. */
const parted = (facts) => facts.map((fact) => h("span", {}, fact));
