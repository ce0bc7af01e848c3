// The engines, and the settings that are in effect.

import { api } from "../base/api.js";
import { h } from "../base/dom.js";
import { showProblem } from "../base/problems.js";
import { t } from "../base/texts.js";
import { jsonBlock } from "./json.js";
import { moment, number, NONE } from "./format.js";
import { nothing, table } from "./table.js";

const KINDS = { running: "good", loading: "warn", "not working": "bad", "left out": "bad" };

export class Settings {
  constructor(place) {
    this.place = place;
    this.text = "";
    this.onlySet = false;
  }

  async open() {
    const body = h("div.rows", { "aria-busy": "true" });
    this.place.replaceChildren(body);
    try {
      const [engines, settings] = await Promise.all([api("GET", "/api/v1/admin/engines"), api("GET", "/api/v1/admin/settings")]);
      const config = settings["config.yml"];
      body.replaceChildren(
        h("h2.part", {}, t("admin.engines")),
        h("div.engines", {}, engines.data.map(engine)),
        h("h2.part", {}, t("admin.settings_of", { version: settings.version })),
        ...this.values(settings.data),
        jsonBlock("config.yml", config, { open: false }),
      );
    } catch (error) {
      showProblem(error, () => this.open());
    } finally {
      body.removeAttribute("aria-busy");
    }
  }

  values(data) {
    const rows = h("div.rows");
    const show = () => {
      const text = this.text.trim().toLowerCase();
      const fit = data.filter((one) => (!this.onlySet || one.is_set) && `${one.name} ${one.value} ${one.description}`.toLowerCase().includes(text));
      rows.replaceChildren(fit.length ? table(t("admin.settings"), columns(), fit) : nothing(t("admin.no_settings"), "sliders"));
    };
    const search = h("input", { type: "search", value: this.text, placeholder: t("admin.find_setting"), "aria-label": t("admin.find_setting"), spellcheck: false, autocomplete: "off" });
    search.addEventListener("input", () => ((this.text = search.value), show()));
    const only = h("input", { type: "checkbox", checked: this.onlySet });
    only.addEventListener("change", () => ((this.onlySet = only.checked), show()));
    show();
    return [h("div.tools", {}, search, h("label.check", {}, only, h("span", {}, t("admin.only_set")))), rows];
  }
}

function columns() {
  return [
    { title: t("admin.variable"), cell: (one) => [h("code", {}, one.name), one.is_set && h("span.badge", {}, t("admin.is_set"))] },
    { title: t("admin.value"), cell: (one) => (one.value === "" ? NONE : h("code.value", {}, one.value)) },
    { title: t("admin.meaning"), cell: (one) => h("span", { lang: "en" }, one.description), extra: true },
  ];
}

function engine(one) {
  const facts = [
    [t("admin.task"), one.task],
    one.device && [t("admin.device"), one.device],
    one.context_tokens && [t("admin.context"), number(one.context_tokens)],
    one.kv_cache_tokens && [t("admin.kv_cache"), number(one.kv_cache_tokens)],
    one.adapter_of && [t("admin.adapter_of"), one.adapter_of],
    one.path && [t("admin.path"), h("code.value", {}, one.path)],
    one.started_at && [t("admin.started"), moment(one.started_at)],
    one.running !== undefined && [t("admin.load"), t("admin.load_of", { running: number(one.running), waiting: number(one.waiting) })],
    one.is_here === false && [t("admin.place"), t("admin.elsewhere")],
    ...Object.entries(one.details ?? {}),
  ].filter(Boolean);
  return h(
    "section.engine",
    {},
    h("h3", {}, one.names.join(", ") || NONE, h(`span.badge.${KINDS[one.state]}`, {}, t(`admin.state_${one.state.replace(" ", "_")}`))),
    one.error && h("p.problem", {}, one.error),
    h("dl.facts", {}, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  );
}
