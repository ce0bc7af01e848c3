// Light, dark or the system's; and the other language.

import { keep } from "./cookies.js";
import { findAll } from "./dom.js";
import { announce } from "./notices.js";
import { setLanguage, t } from "./texts.js";

const NEXT = { system: "light", light: "dark", dark: "system" };

export const theme = () => document.documentElement.dataset.theme ?? "system";

export function setTheme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  keep("kodify_theme", name === "system" ? "" : name);
  announce(t(`base.theme_${name}`));
}

/** Makes the page's buttons for both work. */
export function startLooks() {
  for (const button of findAll("[data-theme-toggle]")) {
    button.addEventListener("click", () => setTheme(NEXT[theme()]));
  }
  for (const button of findAll("[data-language-toggle]")) {
    button.addEventListener("click", () => setLanguage(document.documentElement.lang === "ru" ? "en" : "ru"));
  }
}
