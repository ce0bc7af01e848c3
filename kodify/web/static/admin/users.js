// Users: found by e-mail, made, disabled, deleted.

import { api } from "../base/api.js";
import { confirm, openMenu } from "../base/dialogs.js";
import { h, icon, iconButton } from "../base/dom.js";
import { notify } from "../base/notices.js";
import { showProblem } from "../base/problems.js";
import { t } from "../base/texts.js";
import { askForm, checkbox, field, revealToken } from "./dialogs.js";
import { day, number, NONE } from "./format.js";
import { Listing, calm, nothing, table } from "./table.js";
import { showTokens } from "./tokens.js";

const USERS = "/api/v1/admin/users";
const DAYS = 365;

export class Users {
  constructor(place) {
    this.place = place;
    this.text = "";
  }

  open() {
    this.count = h("p.hint", { role: "status" });
    const search = h("input", {
      type: "search", value: this.text, placeholder: t("admin.find_user"), "aria-label": t("admin.find_user"), spellcheck: false, autocomplete: "off",
    });
    const find = calm(() => this.list.load());
    search.addEventListener("input", () => ((this.text = search.value), find()));
    const button = h("button.primary", { type: "button", onclick: () => this.make() }, icon("plus"), t("admin.new_user"));
    const rows = h("div.rows");
    this.place.replaceChildren(h("div.tools", {}, search, this.count, button), rows);
    this.list = new Listing(rows, (next) => this.ask(next), (found, page) => this.show(found, page));
    return this.list.load();
  }

  ask(next) {
    const wanted = new URLSearchParams({ search: this.text, ...(next === null ? {} : { after: next }) });
    return api("GET", `${USERS}?${wanted}`);
  }

  show(rows, page) {
    if (page) this.count.textContent = t("admin.users_found", { count: number(page.total) });
    if (!rows.length) return nothing(t("admin.no_users_found"), "person");
    const columns = [
      { title: t("admin.email"), cell: (user) => h("span.who", {}, user.email, ...badges(user)) },
      { title: t("admin.until"), cell: (user) => day(user.expiration_date) },
      { title: t("admin.newest_token"), cell: (user) => (user.token ? h("code", {}, user.token) : NONE), extra: true },
      { title: t("admin.made"), cell: (user) => day(user.created_at), extra: true },
      { title: t("admin.acts"), cell: (user) => this.menu(user), acts: true },
    ];
    return table(t("admin.users"), columns, rows, (user) => showTokens(user));
  }

  menu(user) {
    const button = iconButton("more", t("admin.acts_on", { email: user.email }), () =>
      openMenu(button, [
        { label: t("admin.tokens"), icon: "key", run: () => showTokens(user) },
        user.disabled
          ? { label: t("admin.enable"), icon: "check", run: () => this.change(user, false) }
          : { label: t("admin.disable"), icon: "stop", run: () => this.change(user, true) },
        "-",
        { label: t("admin.delete"), icon: "trash", risky: true, run: () => this.remove(user) },
      ]),
    );
    button.setAttribute("aria-haspopup", "menu");
    button.setAttribute("aria-expanded", "false");
    return button;
  }

  make() {
    const fields = [
      field("email", t("admin.email"), { type: "email", required: true, maxLength: 254, autocomplete: "off", spellcheck: false }),
      field("days", t("admin.days"), { type: "number", min: 0, max: 36500, step: 1, required: true, value: DAYS, inputMode: "numeric" }, t("admin.days_hint")),
      field("password", t("admin.password"), { type: "password", maxLength: 1024, autocomplete: "new-password" }, t("admin.password_hint")),
      checkbox("privileged", t("admin.administrator_too")),
    ].flat();
    askForm(t("admin.new_user"), fields, t("admin.make"), async (given) => {
      const made = await api("POST", USERS, {
        email: given.email,
        days: Number(given.days),
        password: given.password || null,
        privileged: "privileged" in given,
      });
      this.list.load();
      revealToken(made.token, made.email);
    });
  }

  async change(user, disabled) {
    try {
      Object.assign(user, await api("PATCH", `${USERS}/${user.id}`, { disabled }));
      this.list.draw();
      notify(t(disabled ? "admin.disabled_told" : "admin.enabled_told", { email: user.email }));
    } catch (error) {
      showProblem(error, () => this.change(user, disabled));
    }
  }

  async remove(user) {
    const question = { title: t("admin.delete_title"), text: t("admin.delete_text", { email: user.email }), yes: t("admin.delete"), danger: true };
    if (!(await confirm(question))) return;
    try {
      await api("DELETE", `${USERS}/${user.id}`);
      notify(t("admin.deleted_told", { email: user.email }));
      await this.list.load();
    } catch (error) {
      showProblem(error);
    }
  }
}

function badges(user) {
  const expired = new Date(`${user.expiration_date}T23:59:59Z`) < new Date();
  return [
    user.privileged && h("span.badge", {}, t("admin.administrator")),
    user.disabled && h("span.badge.bad", {}, t("admin.disabled")),
    expired && h("span.badge.warn", {}, t("admin.expired")),
    user.signs_on && h("span.badge.plain", {}, t("admin.signs_on")),
  ];
}
