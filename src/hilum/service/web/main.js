// The page: starts its parts, and follows the address (#s=ID).

import { alert, shown as orAlert } from "./alerts.js";
import { get } from "./api.js";
import { startChat } from "./chat.js";
import { byId, dialog, h } from "./dom.js";
import { startDraft } from "./draft.js";
import { startDrop } from "./drop.js";
import { startKeys } from "./keys.js";
import { startLinks } from "./link.js";
import { editing, stopEditing, unsaved } from "./review.js";
import { startPrint } from "./print.js";
import { hear, key, now, setting, tell } from "./state.js";
import { loadTerms, notice } from "./terms.js";
import { startViewer } from "./viewer.js";
import { language, t, translate } from "./words.js";
import { refresh, startWorklist } from "./worklist.js";

const WAIT = 20; // seconds that one look at an unread study lasts
let visit = 0; // counts what is opened, so that a late answer never draws over a newer study

function dress() {
  document.documentElement.dataset.theme = setting("theme");
  translate();
  byId("theme").textContent = t(`theme_${setting("theme")}`);
  byId("notice").textContent = notice();
}

/** Show a study, in a language, and follow it until it is read. */
async function open(id, wanted = null) {
  const mine = ++visit;
  const same = now.id === id;
  if (!same) {
    tell("leave");
    stopEditing();
    Object.assign(now, { id, shown: null, review: null });
  }
  await orAlert(async () => {
    let shown = await get(`/v1/studies/${id}?language=${wanted ?? (await preferred(id))}`);
    for (let first = true; mine === visit; first = false) {
      now.shown = shown;
      byId("app").className = "app study";
      byId("main").hidden = byId("skip").hidden = false;
      document.title = `Hilum ${id.slice(0, 6)}`;
      tell("study", { fresh: first && !same });
      if (shown.report || !["queued", "running"].includes(shown.state)) break;
      shown = await get(`/v1/studies/${id}?language=${shown.language}&wait=${shown.state === "queued" ? 2 : WAIT}`);
    }
    if (mine === visit && !now.session.reader) await introduce(); // a worker has come up meanwhile
    if (mine !== visit || !shown.report || shown.report.gate.verdict === "abstain") return;
    const review = await get(`/v1/studies/${id}/review?language=${shown.language}`);
    if (mine !== visit) return;
    now.review = review;
    tell("review");
  });
  if (mine === visit && !now.shown && !locked()) location.hash = "";
}

/** The language of the text that was reviewed; else the page's, or the one that there is. */
async function preferred(id) {
  const shown = now.shown ?? (await get(`/v1/studies/${id}`));
  return shown.review_language ?? (shown.languages.includes(language()) ? language() : shown.language);
}

function follow() {
  const id = /^#s=([0-9a-f]{16})$/.exec(location.hash)?.[1];
  if (id && id === now.id) return;
  if (unsaved() && now.id && !confirm(t("discard"))) {
    history.replaceState(null, "", `#s=${now.id}`);
    return;
  }
  if (id) {
    open(id);
    return;
  }
  visit++;
  const left = now.id;
  tell("leave");
  stopEditing();
  Object.assign(now, { id: null, shown: null, review: null });
  byId("app").className = "app list";
  byId("main").hidden = byId("skip").hidden = true;
  document.title = "Hilum";
  byId("rows").querySelector(`[data-row="${left}"]`)?.focus();
}

/** Whether a key is being asked for: what was opened is opened again with it. */
const locked = () => document.querySelector("dialog.key");

/** Ask for a key once; it stays in this tab. */
function unlock() {
  if (locked()) return;
  const input = h("input", { id: "key", type: "password", autocomplete: "off", required: true, autofocus: true });
  dialog(t("key_title"), () => h("form", { onsubmit: (event) => {
    event.preventDefault();
    key.set(input.value.trim());
    location.reload();
  } }, key.get() && h("p", { className: "bad", role: "alert" }, t("key_wrong")), h("label", {}, t("key_label"), input), h("p", { className: "faint" }, t("key_hint")),
    h("menu", {}, h("button", { type: "submit", className: "primary" }, t("enter"))))).classList.add("key");
}

/** Who is here and what is served. */
async function introduce() {
  now.session = await get("/v1/session");
  tell("session");
}

async function start() {
  await loadTerms();
  dress();
  for (const part of [startLinks, startWorklist, startViewer, startDraft, startChat, startDrop, startKeys, startPrint]) part();
  hear("theme", dress);
  hear("language", () => { dress(); if (now.id && !editing()) open(now.id); });
  hear("reload", (wanted) => open(now.id, wanted));
  hear("reviewed", refresh);
  hear("locked", unlock);
  addEventListener("hashchange", follow);
  byId("skip").addEventListener("click", (event) => { // the address is the study's
    event.preventDefault();
    byId("main").focus();
  });
  addEventListener("beforeunload", (event) => unsaved() && event.preventDefault());
  try {
    await introduce();
  } catch (error) {
    if (error.code !== "key_refused") alert(error);
    return;
  }
  await refresh();
  follow();
}

start();
