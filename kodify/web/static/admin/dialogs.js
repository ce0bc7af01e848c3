// Dialogs with more in them than a question.

import { copy } from "../base/clipboard.js";
import { h, iconButton } from "../base/dom.js";
import { told } from "../base/problems.js";
import { t } from "../base/texts.js";

let count = 0;

/** Shows `content` under a title until it is closed. `onclose` is called then. */
export function openDialog(title, content, { wide = false, onclose = null } = {}) {
  const id = `dialog-${++count}`;
  const dialog = h(
    wide ? "dialog.entry" : "dialog.form",
    { "aria-labelledby": id, onclose: () => (dialog.remove(), onclose?.()) },
    h("header", {}, h("h2", { id }, title), iconButton("close", t("base.close"), () => dialog.close())),
    ...content,
  );
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** A labelled field. `more`: properties of the input; a hint is said with it. */
export function field(name, label, more = {}, hint = "") {
  const id = `field-${name}`;
  const described = hint ? `${id}-hint` : null;
  return [
    h("label", { htmlFor: id }, label),
    h("input", { id, name, "aria-describedby": described, ...more }),
    hint && h("p.hint", { id: described }, hint),
  ];
}

export function checkbox(name, label) {
  return h("label.check", {}, h("input", { type: "checkbox", name }), h("span", {}, label));
}

/** A dialog with a form; `send(values)` is awaited, and what it refuses is told in the dialog. */
export function askForm(title, fields, yes, send) {
  const problem = h("p.problem", { role: "alert", hidden: true });
  const button = h("button.primary", {}, yes);
  const form = h(
    "form",
    { onsubmit: submit },
    problem,
    ...fields,
    h("div.choices", {}, h("button", { type: "button", onclick: () => dialog.close() }, t("base.cancel")), button),
  );
  const dialog = openDialog(title, [form]);
  form.querySelector("input")?.focus();

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    problem.hidden = true;
    try {
      await send(Object.fromEntries(new FormData(form)));
      dialog.close();
    } catch (error) {
      problem.textContent = told(error);
      problem.hidden = false;
      button.disabled = false;
    }
  }
}

/** A new token, for the one time that it can be seen. */
export function revealToken(token, email) {
  const button = iconButton("copy", t("base.copy"), () => copy(token, button));
  openDialog(t("admin.token_title"), [
    h("p.soft", {}, t("admin.token_once", { email })),
    h("div.secret", {}, h("code", {}, token), button),
    h("div.choices", {}, h("button.primary", { type: "button", onclick: (event) => event.target.closest("dialog").close() }, t("base.done"))),
  ]);
}
