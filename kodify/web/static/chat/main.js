// The chat page: starts its parts and joins them.

import { copy } from "../base/clipboard.js";
import { openMenu } from "../base/dialogs.js";
import { find, findAll } from "../base/dom.js";
import { startLooks } from "../base/looks.js";
import { notify } from "../base/notices.js";
import { showProblem } from "../base/problems.js";
import { requireSession, signOut, whenSignedInAgain } from "../base/session.js";
import { onLanguage, t } from "../base/texts.js";
import { actionTitle } from "./actions.js";
import { Chats } from "./chats.js";
import { collectionTitle } from "./collections.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { Expiry } from "./expiry.js";
import { saveAs } from "./export.js";
import { Settings } from "./settings.js";
import { showShortcuts, startShortcuts } from "./shortcuts.js";
import { Side } from "./side.js";
import { Thread } from "./thread.js";

let session = null;
const side = new Side();
const settings = new Settings({
  onChanged: (chosen) => conversation.change(chosen).catch(showProblem),
  onKnown: () => thread.translate(),
});
const thread = new Thread({ onEdit: (message) => composer.beginEditing(message), onAgain: () => answerAgain() });
const expiry = new Expiry(() => conversation.sync());
const chats = new Chats({ onDeleted: (id) => id === conversation.id && go(""), onRenamed: () => showAbout() });
const composer = new Composer({ onSend: send, onAct: act, onStop: stop, onEditLast: editLast });
const conversation = new Conversation(thread, {
  created: (id) => {
    history.pushState(null, "", `#${id}`);
    settings.begin();
    chats.select(id);
  },
  changed: () => {
    composer.setBusy(conversation.isBusy, conversation.answering !== null);
    showAbout();
  },
  finished: () => chats.changed().then(showAbout),
  gone: () => (showAbout(), chats.load()),
  failed: (error) => showProblem(error, openChosen),
  connection: showConnection,
});

function showAbout() {
  const about = conversation.about;
  const title = chats.of(conversation.id)?.title ?? about?.title;
  find("#title").textContent = title || t("chat.new_title");
  document.title = title ? `${title} · Kodify` : "Kodify";
  find("#chat-menu").hidden = !about;
  expiry.set(chats.of(conversation.id)?.expires_at ?? about?.expires_at);
}

function showConnection(state) {
  const place = find("#connection");
  place.hidden = !state;
  place.textContent = state && t(navigator.onLine ? "chat.reconnecting" : "chat.offline");
}

const chosenId = () => location.hash.slice(1);

function go(id) {
  if (chosenId() === id) openChosen();
  else location.hash = id;
}

async function openChosen() {
  const id = chosenId();
  side.leave();
  composer.switchTo(conversation.id ?? "", id);
  chats.select(id);
  if (id) await conversation.open(id);
  else conversation.close();
  settings[conversation.about ? "adopt" : "forNewChat"](conversation.about?.settings);
  conversation.follower.changed();
  if (matchMedia("(hover: hover)").matches) composer.focus();
}

/** Whether it is on its way. */
async function send(question) {
  try {
    if (!conversation.id) await conversation.create(settings.value);
    await conversation.send(question);
    chats.changed().then(showAbout);
    return true;
  } catch (error) {
    refuse(error, () => composer.send());
    return false;
  }
}

/** Tells why what was asked was refused. `again` asks it once more. */
async function refuse(error, again) {
  const { collections } = settings;
  const mayBeTheirs = [404, 409].includes(error.status) && collections.names.length > 0;
  if (mayBeTheirs) await collections.load();
  const { lost } = collections;
  if (mayBeTheirs && lost.length) {
    const names = lost.map(collectionTitle).join(", ");
    const run = () => (settings.drawWithout(lost), settings.tell().then(again));
    notify(t("chat.collections_lost", { names }), { bad: true, act: { label: t("chat.go_on_without"), run } });
  } else if (error.status === 409) notify(t("chat.busy"), { bad: true });
  else showProblem(error, again);
}

function act(name, file, instructions) {
  const { path, language, text: code } = file;
  const message = [`${actionTitle(name)}: ${path}`, instructions].filter(Boolean).join("\n\n");
  return send({ message, action: { name, code, language: language || null, path, instructions: instructions || null } });
}

function stop() {
  conversation.stop().catch((error) => error.status === 404 || notify(t("chat.stop_failed"), { bad: true }));
}

function answerAgain() {
  if (!conversation.isBusy) conversation.again().catch((error) => refuse(error, answerAgain));
}

function editLast() {
  const mine = thread.messages.findLast((message) => message.role === "user" && !message.action);
  if (mine && !conversation.isBusy) composer.beginEditing(mine);
}

function copyLast() {
  const answer = thread.messages.findLast((message) => message.role === "assistant" && message.content);
  if (answer) copy(answer.content, answer.element);
}

function openChatMenu() {
  const { id } = conversation;
  const chat = chats.of(id) ?? { chat_id: id, title: conversation.about?.title };
  const saved = (kind) => saveAs(kind, id).catch(showProblem);
  openMenu(find("#chat-menu"), [
    { label: t("chat.export_markdown"), icon: "download", run: () => saved("markdown") },
    { label: t("chat.export_json"), icon: "download", run: () => saved("json") },
    "-",
    { label: t("chat.delete"), icon: "trash", risky: true, run: () => chats.remove(chat) },
  ]);
}

function openAccountMenu() {
  openMenu(find("#account"), [
    session.name && { note: session.name },
    session.administrator && { label: t("chat.administration"), icon: "shield", href: "/admin" },
    { label: t("chat.shortcuts"), icon: "keyboard", run: showShortcuts },
    { label: t("chat.api_documents"), icon: "file", href: "/docs" },
    session.methods.length > 0 && { label: t("base.sign_out"), icon: "leave", run: () => signOut().catch(showProblem) },
    "-",
    { note: t("chat.version", { version: session.version }) },
  ].filter(Boolean));
}

function startWith(found) {
  session = found;
  if (session.name) {
    const name = find("#account-name");
    delete name.dataset.text;
    name.textContent = session.name;
  }
  composer.actions.load();
  settings.load().catch((error) => showProblem(error, () => settings.load()));
  chats.load().then(showAbout);
  openChosen();
}

startLooks();
startShortcuts({
  new: () => go(""),
  side: () => side.toggle(),
  copy: copyLast,
  focus: () => composer.focus(),
  stop: () => side.leave() || composer.leaveEditing() || (conversation.answering && stop()),
});
onLanguage(showAbout);
addEventListener("hashchange", openChosen);
find("#chat-menu").addEventListener("click", openChatMenu);
find("#account").addEventListener("click", openAccountMenu);
find("#new-chat").addEventListener("click", () => go(""));
find("[data-new]").addEventListener("click", () => go(""));
find(".skip").addEventListener("click", (event) => (event.preventDefault(), composer.focus()));
find(".brand").addEventListener("click", (event) => (event.preventDefault(), go("")));
for (const button of findAll("[data-example]")) {
  button.addEventListener("click", () => {
    composer.text = t(`chat.example_${button.dataset.example}_text`);
    composer.send();
  });
}
whenSignedInAgain(startWith);
try {
  startWith(await requireSession());
} catch (error) {
  showProblem(error, () => location.reload());
}
