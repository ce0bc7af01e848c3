// Copying, and saving as a file.

import { h, icon } from "./dom.js";
import { announce, notify } from "./notices.js";
import { t } from "./texts.js";

const SHOWN_MS = 1600;

/** Copies, and shows so on the button that asked for it. */
export async function copy(text, button) {
  try {
    await write(text);
  } catch {
    notify(t("base.copy_failed"), { bad: true });
    return;
  }
  announce(t("base.copied"));
  const drawing = button.querySelector("svg");
  const tick = icon("check");
  if (!drawing || button.dataset.copied) return;
  button.dataset.copied = "yes";
  drawing.replaceWith(tick);
  setTimeout(() => {
    tick.replaceWith(drawing);
    delete button.dataset.copied;
  }, SHOWN_MS);
}

async function write(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without TLS browsers have no clipboard for scripts, but for the old way.
  const field = h("textarea.unseen", { value: text, readOnly: true });
  const focused = document.activeElement;
  (focused?.closest("dialog") ?? document.body).append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  if (!copied) throw new Error("refused");
}

export function save(name, text, type = "text/plain") {
  const address = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
