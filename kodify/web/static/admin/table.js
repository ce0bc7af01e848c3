// Tables, and pages of them that follow one another.

import { h, icon } from "../base/dom.js";
import { showProblem } from "../base/problems.js";
import { t } from "../base/texts.js";

/** `columns`: {title, cell(row), numeric, extra, acts} each; `extra` ones are left out on a phone. A wide table scrolls, and
 * `acts` stay in sight. */
export function table(caption, columns, rows, onrow) {
  const body = h("tbody", {}, rows.map((row) => tableRow(columns, row, onrow)));
  const titles = columns.map((column) => h("th", { scope: "col", className: kind(column) }, column.title));
  const whole = h("table", {}, h("caption.unseen", {}, caption), h("thead", {}, h("tr", {}, titles)), body);
  return h("div.wide-table", { role: "region", tabIndex: 0, "aria-label": caption }, whole);
}

export function tableRow(columns, row, onrow) {
  const made = h("tr", {}, columns.map((column) => h("td", { className: kind(column) }, column.cell(row))));
  if (onrow) {
    made.classList.add("opens");
    made.addEventListener("click", (event) => event.target.closest("a, button") || onrow(row));
  }
  return made;
}

const kind = (column) => [column.numeric && "numeric", column.extra && "extra", column.acts && "acts"].filter(Boolean).join(" ");

/** What is there instead of a table. */
export const nothing = (text, drawing = "file") => h("p.nothing", {}, icon(drawing), text);

/** A list that grows by pages. `ask(next)` gives {data, next} of a page; `show(rows)` makes an element of them. */
export class Listing {
  constructor(place, ask, show) {
    Object.assign(this, { place, ask, show, rows: [], turn: 0 });
    this.more = h("button", { type: "button", onclick: () => this.load(true) }, t("admin.more"));
  }

  /** The first page anew, or one more; an answer that comes after another question is passed over. */
  async load(more = false) {
    const turn = ++this.turn;
    this.place.setAttribute("aria-busy", "true");
    this.more.disabled = true;
    try {
      const page = await this.ask(more ? this.next : null);
      if (turn !== this.turn) return;
      this.rows = more ? [...this.rows, ...page.data] : page.data;
      this.next = page.next;
      this.draw(page);
    } catch (error) {
      if (turn !== this.turn) return;
      if (error.status === 404 && !more) this.place.replaceChildren(nothing(error.message, "alert"));
      else showProblem(error, () => this.load(more));
    } finally {
      if (turn === this.turn) {
        this.place.removeAttribute("aria-busy");
        this.more.disabled = false;
      }
    }
  }

  draw(page = null) {
    const hadFocus = document.activeElement === this.more;
    const scrolled = this.place.querySelector(".wide-table")?.scrollLeft ?? 0;
    this.place.replaceChildren(this.show(this.rows, page), ...(this.next === null ? [] : [this.more]));
    const wide = this.place.querySelector(".wide-table");
    if (wide) wide.scrollLeft = scrolled;
    if (hadFocus) (this.next === null ? wide : this.more)?.focus();
  }
}

/** Calls `run` when nobody has typed for a moment. */
export function calm(run, milliseconds = 250) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(run, milliseconds);
  };
}

/** How an entry of the journal ended. */
export function status(row) {
  const kind = row.status_code < 400 ? "good" : row.status_code === 499 || row.status_code === 429 ? "warn" : "bad";
  return h(`span.badge.${kind}`, {}, String(row.status_code));
}
