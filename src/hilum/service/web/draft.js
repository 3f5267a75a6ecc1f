// The report: its state, what to check first, its sentences linked to findings and boxes.

import { alert, shown as orAlert } from "./alerts.js";
import { post } from "./api.js";
import { byId, fill, h } from "./dom.js";
import { findingsOf, originOf } from "./findings.js";
import { actions, editor, editing, historyOf, stateLine } from "./review.js";
import { hear, may, now, tell } from "./state.js";
import { code, notice, sentence, term } from "./terms.js";
import { showBox } from "./viewer.js";
import { language, percent, t, when } from "./words.js";

let clock = null;

export function startDraft() {
  for (const name of ["study", "review", "editing", "session"]) hear(name, draw);
  hear("language", () => now.id && draw());
}

/** Everything on the study's right, from what the server shows of it. */
function draw() {
  clearInterval(clock);
  const { shown } = now;
  if (!shown) return;
  const here = byId("draft");
  const { scrollTop } = here;
  const typing = document.activeElement?.id === "editor" ? document.activeElement.selectionStart : null;
  here.classList.toggle("preliminary", shown.review !== "approved");
  if (shown.report) fill(here, shown.report.gate.verdict === "abstain" ? unread(shown.report) : read(shown.report));
  else fill(here, unfinished(shown));
  here.scrollTop = scrollTop;
  if (typing !== null && editing()) {
    byEditor().focus();
    byEditor().setSelectionRange(typing, typing);
  }
}

const byEditor = () => document.getElementById("editor");

const head = () => h("h2", { className: "ident faint" }, `${now.id} · ${when(now.shown.created)}`);

function unfinished(shown) {
  if (shown.state === null) return [head(), h("p", {}, t("other_text")), otherLanguage()];
  if (["failed", "quarantined"].includes(shown.state)) {
    return [head(), h("div", { className: "state bad", role: "status" }, h("h2", {}, t("failed_title")), h("p", {}, sentence({ code: shown.error })), h("code", {}, shown.error)),
      may("write") && h("button", { type: "button", onclick: () => again(shown.language) }, t("again"))];
  }
  const words = h("span");
  const say = () => { words.textContent = t(shown.state === "running" ? "reading" : "waiting", { s: Math.max(0, Math.round(Date.now() / 1000 - (shown.started ?? shown.created))) }); };
  say();
  clock = setInterval(say, 1000);
  return [head(), h("div", { className: "state wait" }, h("progress", { "aria-label": t(shown.state) }), words)];
}

/** An abstained study says why, and nothing about the film. */
function unread(report) {
  return [head(),
    h("div", { className: "state unread", role: "status" }, h("h2", {}, t("unread_title")),
      h("ul", {}, report.gate.reasons.map((reason) => h("li", {}, code(reason), " ", h("code", {}, reason)))),
      h("p", {}, t("unread"))),
    flagsOf(report), otherLanguage(), originOf(report), footer()];
}

function read(report) {
  const { review } = now;
  if (!review) return [head(), h("progress", { "aria-label": t("loading") })];
  return [head(), stateLine(review), checks(review), flagsOf(report),
    h("section", { className: "text" },
      h("h3", {}, t(review.text === review.draft ? "text" : "text_edited")),
      editing() ? editor(review) : sentences(review)),
    actions(review), otherLanguage(), findingsOf(report, showBox), historyOf(review, report), originOf(report), footer()];
}

const footer = () => h("p", { className: "notice-print" }, notice());

/** Where words and probabilities disagree: before everything else. */
export function checks(review) {
  if (!review.disagreements.length) return null;
  const line = (d) => t(d.said ? "d_said" : "d_silent", { f: term(d.name), said: d.said && t(d.said), status: t(d.status), p: percent(d.probability) });
  return h("section", { className: "checks" }, h("h3", {}, t("check")),
    h("ul", {}, review.disagreements.map((d) => h("li", { "data-link": d.name, tabIndex: 0 }, line(d)))));
}

function flagsOf(report) {
  const others = report.flags.filter((flag) => flag !== "text_disagrees");
  return others.length ? h("ul", { className: "flags" }, others.map((flag) => h("li", {}, code(flag)))) : null;
}

/** The text, each sentence a link to its findings and boxes; text between them as it is. */
function sentences(review) {
  const parts = [];
  let at = 0;
  for (const one of review.sentences) {
    parts.push(review.text.slice(at, one.start), part(review.text.slice(one.start, one.end), one));
    at = one.end;
  }
  parts.push(review.text.slice(at));
  return h("p", { className: "sentences", lang: review.language === "zh" ? "zh-CN" : "en" }, parts);
}

function part(words, one) {
  const names = [...new Set(one.findings.filter((f) => !one.instances.some(([name]) => name === f.name)).map((f) => f.name))];
  const links = [...one.instances.map(([name, n]) => `${name}:${n}`), ...names].join(" ");
  if (!links) return h("span", {}, words);
  const wrong = one.findings.some((f) => f.agrees === false);
  const there = one.findings.some((f) => f.status !== "absent" && f.name !== "no_finding");
  const boxed = one.instances[0];
  const act = () => boxed && showBox(...boxed);
  return h("span", { className: `sentence${wrong ? " wrong" : ""}${there ? " there" : ""}`, role: "button", tabIndex: 0, "data-link": links, onclick: act, onkeydown: (e) => { if (e.key === "Enter") act(); } }, words);
}

/** Where the text is in another language than the page: the way to one in the page's. */
function otherLanguage() {
  const { shown } = now;
  const button = (name, act) => h("p", {}, h("button", { type: "button", onclick: act }, t(name)));
  if (shown.review_language && shown.language !== shown.review_language) return button("show_reviewed", () => tell("reload", shown.review_language));
  if (shown.language === language() || editing()) return null;
  if (shown.languages.includes(language())) return button("show_in", () => tell("reload", language()));
  return may("write") ? button("in_language", () => again(language())) : null;
}

async function again(inLanguage) {
  await orAlert(async () => {
    await post(`/v1/studies/${now.id}/jobs`, { language: inLanguage });
    tell("reload", inLanguage);
  });
}

/** The report as text, with its state and the notice, for the clipboard. */
export async function copy() {
  const { review, shown } = now;
  if (!review?.text) return;
  const text = [stateLine(review).textContent, "", review.text, "", `${shown.id} · ${shown.report.provenance.reader}`, notice()].join("\n");
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no clipboard over plain HTTP
    const area = h("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  alert(t("copied"), "done");
}
