// Reviewing: edit, approve, reject, reopen; the draft and every step stay to be seen.

import { alert } from "./alerts.js";
import { get, post } from "./api.js";
import { dialog, fill, h } from "./dom.js";
import { checks, copy } from "./draft.js";
import { may, now, tell } from "./state.js";
import { person } from "./terms.js";
import { t, when } from "./words.js";

const REASONS = ["finding_missed", "finding_false", "place_wrong", "wording", "film_unsuitable", "other"];
let stepping = false;
let text = null; // what stands in the editor, for the study that is open; null: nothing is edited

export const editing = () => text !== null;
export const stopEditing = () => { text = null; };
/** Whether leaving would lose words. */
export const unsaved = () => text !== null && text !== now.review?.text;

export function stateLine(review) {
  const last = review.history.findLast((step) => ["approve", "reject"].includes(step.action));
  const values = last && { who: person(last), when: when(last.at), why: last.reason ? t(last.reason) : "" };
  const other = elsewhere(review);
  return h("p", { className: `state ${other ? "preliminary" : review.state}`, role: "status" }, t(`s_${review.state}`, values ?? {}).replace(/[:：]\s*$/, ""),
    other);
}

const spoken = (review) => review.history.findLast((step) => step.text !== null)?.language ?? null;

/** Says so where the words that count were last written in the other language. */
function elsewhere(review) {
  const last = spoken(review);
  return last && last !== review.language ? ` ${t("elsewhere", { l: t(`l_${last}`) })}` : null;
}

export function actions(review) {
  const button = (name, key, act, more = {}) => h("button", { type: "button", onclick: act, title: key && `${t(name)} (${key})`, "aria-keyshortcuts": key, ...more }, t(name));
  const open = review.state === "preliminary";
  const own = !may("write") ? [] : !open ? [button("reopen", null, () => step("reopen"))]
    : editing() ? [button("save", null, save, { className: "primary" }), button("cancel", null, leave)]
      : [button("approve", "a", approve, { className: "primary" }), button("edit", "e", edit), button("reject", "x", reject)];
  return h("div", { className: "actions", role: "group" }, own, h("span", { className: "gap" }), button("copy", "y", copy), button("print", null, () => window.print()));
}

export function edit() {
  if (!may("write") || now.review?.state !== "preliminary") return;
  text = now.review.text;
  tell("editing");
  document.getElementById("editor").focus();
}

function leave() {
  text = null;
  tell("editing");
}

export function editor() {
  const area = h("textarea", { id: "editor", "aria-label": t("edit_label"), maxLength: 8000, oninput: () => { text = area.value; } });
  area.value = text;
  area.rows = Math.max(6, Math.ceil(text.length / 50) + 1);
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leave();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return area;
}

async function save() {
  if (await step("edit", { text })) leave();
}

/** One step, one at a time; where somebody was quicker, their words are shown and ours are kept in the editor. */
async function step(action, more = {}) {
  if (stepping) return false;
  stepping = true;
  try {
    return await taken(action, more);
  } finally {
    stepping = false;
  }
}

async function taken(action, more) {
  const study = now.id;
  const { base, language } = now.review;
  try {
    const review = await post(`/v1/studies/${study}/review`, { action, base, language, ...more });
    if (now.id !== study) return false;
    shownAs(review);
    alert(t("saved"), "done");
    tell("reviewed");
    return true;
  } catch (error) {
    if (["review_conflict", "review_closed"].includes(error.code)) await renewed(study, language);
    alert(error); // last: who reads it may save again at once, upon what is now known
    return false;
  }
}

function shownAs(review) {
  now.review = review;
  Object.assign(now.shown, { review: review.state, review_language: spoken(review) });
  tell("review");
}

async function renewed(study, language) {
  try {
    const review = await get(`/v1/studies/${study}/review?language=${language}`);
    if (now.id === study) shownAs(review);
  } catch { /* the conflict is what is told */ }
}

const ready = () => may("write") && now.review?.text && now.review.state === "preliminary" && !editing() && !document.querySelector("dialog[open]");

export function approve() {
  if (!ready()) return;
  dialog(t("approve_title"), (close) => [
    h("p", {}, t("approve_hint")),
    checks(now.review),
    h("blockquote", {}, now.review.text),
    h("menu", {}, h("button", { type: "button", onclick: close }, t("cancel")),
      h("button", { type: "button", className: "primary", autofocus: true, onclick: () => { close(); step("approve", { text: now.review.text }); } }, t("approve")))]);
}

export function reject() {
  if (!ready()) return;
  const select = h("select", { id: "reason" }, REASONS.map((value) => h("option", { value }, t(value))));
  dialog(t("reject_title"), (close) => [
    h("label", {}, t("reason"), select),
    h("menu", {}, h("button", { type: "button", onclick: close }, t("cancel")),
      h("button", { type: "button", className: "primary", onclick: () => { close(); step("reject", { reason: select.value }); } }, t("reject")))]);
}

/** The draft as it was written, and every step with who and when. */
export function historyOf(review, report) {
  if (!review.history.length) return null;
  const words = h("p", { className: "old", hidden: true });
  const show = (said) => fill(Object.assign(words, { hidden: false }), said);
  const entry = (said, at, old) => h("li", {}, old ? h("button", { type: "button", className: "plain", onclick: () => show(old) }, said) : said, h("small", {}, at ? ` ${when(at)}` : ""));
  return h("section", { className: "history" }, h("h3", {}, t("history")),
    h("ol", {}, entry(t("h_draft", { reader: report.provenance.reader }), now.shown.finished, review.draft),
      review.history.map((one) => entry(t(`h_${one.action}`, { who: person(one), why: one.reason ? t(one.reason) : "" }).replace(/[:：]\s*$/, ""), one.at, one.text))), words);
}
