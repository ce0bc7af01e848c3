// What administrators did.

import { api } from "../base/api.js";
import { h } from "../base/dom.js";
import { t } from "../base/texts.js";
import { moment, NONE } from "./format.js";
import { Listing, calm, nothing, table } from "./table.js";

export class Audit {
  constructor(place) {
    this.place = place;
    this.text = "";
  }

  open() {
    const search = h("input", {
      type: "search", value: this.text, placeholder: t("admin.find_act"), "aria-label": t("admin.find_act"), spellcheck: false, autocomplete: "off",
    });
    const find = calm(() => this.list.load());
    search.addEventListener("input", () => ((this.text = search.value), find()));
    const rows = h("div.rows");
    this.place.replaceChildren(h("div.tools", {}, search), rows);
    this.list = new Listing(rows, (next) => this.ask(next), (found) => show(found));
    return this.list.load();
  }

  ask(next) {
    return api("GET", `/api/v1/admin/audit?${new URLSearchParams({ search: this.text, ...(next === null ? {} : { before: next }) })}`);
  }
}

function show(rows) {
  if (!rows.length) return nothing(t("admin.no_acts"), "shield");
  return table(t("admin.audit"), [
    { title: t("admin.when"), cell: (act) => h("time", { dateTime: act.at }, moment(act.at)) },
    { title: t("admin.who"), cell: (act) => act.actor },
    { title: t("admin.did"), cell: (act) => h("span.badge.plain", {}, name(act.act)) },
    { title: t("admin.whom"), cell: target },
    { title: t("admin.detail"), cell: (act) => act.detail ?? NONE, extra: true },
    { title: t("admin.from"), cell: (act) => act.address ?? NONE, extra: true },
  ], rows);
}

function target(act) {
  return act.act === "read journal" ? h("a", { href: `#journal/${act.target}` }, act.target) : act.target;
}

function name(act) {
  const key = `admin.act_${act.replaceAll(" ", "_")}`;
  const told = t(key);
  return told === key ? act : told;
}
