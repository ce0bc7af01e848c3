// Dialogs that ask, and menus that open at a button.

import { h, icon } from "./dom.js";
import { t } from "./texts.js";

/** Whether the person says yes. */
export function confirm({ title, text, yes, danger = false }) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { "aria-labelledby": "confirm-title", onclose: () => (dialog.remove(), resolve(dialog.returnValue === "yes")) },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "confirm-title" }, title),
        h("p.soft", {}, text),
        h(
          "div.choices",
          {},
          h("button", { value: "", autofocus: true }, t("base.cancel")),
          h(danger ? "button.danger" : "button.primary", { value: "yes" }, yes),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** `items`: {label, icon, run, href, risky} each, "-" for a line, or {note} for words alone. */
export function openMenu(anchor, items) {
  const menu = h("div.menu", { popover: "auto", role: "menu" });
  for (const item of items) {
    if (item === "-") menu.append(h("hr"));
    else if (item.note !== undefined) menu.append(h("p", {}, item.note));
    else menu.append(entry(menu, item));
  }
  menu.addEventListener("toggle", (event) => {
    if (event.newState === "open") return;
    anchor.setAttribute("aria-expanded", "false");
    if (menu.contains(document.activeElement) || document.activeElement === document.body) anchor.focus();
    menu.remove();
  });
  menu.addEventListener("keydown", (event) => move(event, menu));
  document.body.append(menu);
  menu.showPopover();
  place(menu, anchor.getBoundingClientRect());
  anchor.setAttribute("aria-expanded", "true");
  menu.querySelector("[role=menuitem]")?.focus();
}

function entry(menu, item) {
  const made = h(
    item.href ? "a.button" : "button",
    { role: "menuitem", href: item.href, type: item.href ? null : "button" },
    item.icon && icon(item.icon),
    h("span", {}, item.label),
  );
  made.classList.toggle("risky", Boolean(item.risky));
  made.addEventListener("click", () => {
    menu.hidePopover();
    item.run?.();
  });
  return made;
}

/** Below its button, or above it where there is more room. */
function place(menu, box) {
  const { width, height } = menu.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.right - width, innerWidth - width - 8));
  const below = box.bottom + 6;
  const top = below + height > innerHeight - 8 ? Math.max(8, box.top - height - 6) : below;
  menu.style.left = `${left}px`;
  menu.style.top = `${top}px`;
}

function move(event, menu) {
  const entries = [...menu.querySelectorAll("[role=menuitem]")];
  const at = entries.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: entries.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  entries[(to + entries.length) % entries.length].focus();
}
