// The conversation about a study: streamed, kept by the server, stopped, asked again, begun anew.

import { alert } from "./alerts.js";
import { events, get } from "./api.js";
import { byId, fill, h } from "./dom.js";
import { hear, may, now } from "./state.js";
import { person, report, term } from "./terms.js";
import { percent, t } from "./words.js";

const QUESTIONS = ["q1", "q2", "q3", "q4", "q5", "q6", "q7"];
let [turns, conversation, last, running, opened, loaded, answerIn] = [[], 1, 0, null, false, false, ""];
const log = h("div", { className: "log", role: "log", tabIndex: 0 });
const input = h("textarea", { id: "question", rows: 1, maxLength: 4000 });

export function startChat() {
  hear("study", ({ fresh }) => { if (fresh) load(); else draw(); });
  hear("language", () => now.id && draw());
  hear("session", draw);
  hear("leave", stop);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      ask(input.value);
    } else if (event.key === "Escape") {
      if (running) stop();
      else input.blur();
    }
  });
}

async function load() {
  stop();
  [turns, conversation, last, loaded] = [[], 1, 0, false];
  input.value = "";
  draw();
  const study = now.id;
  try {
    const found = await get(`/v1/studies/${study}/turns`);
    if (study !== now.id) return;
    ({ turns, conversation, last } = found);
    [opened, loaded] = [turns.length > 0, true];
    draw();
  } catch (error) {
    alert(error);
  }
}

function draw() {
  if (!now.shown) return;
  const open = opened || innerHeight > innerWidth;
  const able = loaded && Boolean(report()) && may("write");
  const button = (name, act, more = {}) => h("button", { type: "button", onclick: act, ...more }, t(name));
  byId("chat").classList.toggle("open", open);
  log.setAttribute("aria-label", t("chat"));
  input.setAttribute("aria-label", t("ask"));
  input.placeholder = able ? t("ask") : t("chat_wait");
  input.disabled = !able;
  const choice = h("select", { "aria-label": t("answer_in"), title: t("answer_in"), onchange: (e) => { answerIn = e.target.value; } },
    [["", "as_asked"], ["zh", "l_zh"], ["en", "l_en"]].map(([value, name]) => h("option", { value, selected: value === answerIn }, t(name))));
  fill(byId("chat"),
    h("div", { className: "chat-head" }, h("h2", {}, t("chat_title")), choice,
      button("fresh", begin, { disabled: !turns.length }),
      h("button", { type: "button", className: "fold", "aria-expanded": String(open), "aria-label": t(open ? "chat_close" : "chat_open"), onclick: () => { opened = !opened; draw(); } }, open ? "▾" : "▴")),
    open && h("p", { className: "faint" }, t(now.session?.chat === "model" ? "by_model" : "by_rules")),
    open && fill(log, turns.map(turn)),
    open && able && !running && h("div", { className: "chips" }, QUESTIONS.map((name) => h("button", { type: "button", className: "chip", onclick: () => ask(t(name)) }, t(name)))),
    h("div", { className: "ask" }, input,
      running ? button("stop", stop) : [turns.at(-1)?.role === "assistant" && button("retry", () => ask(null)), button("send_q", () => ask(input.value), { className: "primary", disabled: !able })]));
  log.scrollTop = log.scrollHeight;
}

function turn(one) {
  const [wrong, rated] = [one.disagrees ?? [], one.role === "assistant" ? rates() : []];
  return h("div", { className: `turn ${one.role}` },
    h("b", {}, one.role === "user" ? (one.who && one.who !== now.session?.who ? person(one) : t("you")) : "Hilum"),
    h("p", {}, one.text),
    one.state === "stopped" && h("small", { className: "faint" }, t("stopped")),
    one.state === "failed" && h("small", { className: "bad" }, t("broken")),
    wrong.length > 0 && h("p", { className: "wrong", role: "note" }, t("wrong_words", { f: wrong.map((name) => `${term(name)} ${percent(report()?.findings.find((f) => f.name === name)?.probability)}`).join(", ") })),
    one.role === "assistant" && now.session?.chat === "model" && rated.length > 0 && h("small", { className: "faint" }, rated.join(" · ")));
}

/** The probabilities beside a model's words: what is there or may be, and a fracture always. */
function rates() {
  const found = report()?.findings.filter((f) => f.probability !== null && (f.status !== "absent" || f.name === "fracture")) ?? [];
  return found.map((f) => `${term(f.name)} ${percent(f.probability)}`);
}

function begin() {
  stop();
  [turns, conversation] = [[], last + 1];
  draw();
  input.focus();
}

export const stop = () => running?.abort();

/** Ask; without words the last question again. */
async function ask(words) {
  const again = words === null;
  if (running || !loaded || (!again && !words.trim()) || !may("write")) return;
  const study = now.id;
  opened = true;
  if (again) {
    while (turns.at(-1)?.role === "assistant") turns.pop();
  } else {
    turns.push({ role: "user", text: words.trim(), state: "whole" });
    input.value = "";
  }
  const answer = { role: "assistant", text: "", state: "whole", disagrees: [] };
  turns.push(answer);
  last = Math.max(last, conversation);
  const mine = (running = new AbortController());
  draw();
  const shown = log.lastElementChild?.querySelector("p");
  log.setAttribute("aria-busy", "true"); // read out once, when it is whole
  try {
    const body = { conversation, text: again ? null : words.trim(), language: answerIn || null };
    for await (const event of events(`/v1/studies/${study}/turns`, body, mine.signal)) {
      answer.text += event.choices[0]?.delta.content ?? "";
      answer.disagrees = event.hilum?.disagrees ?? answer.disagrees;
      if (shown) shown.textContent = answer.text;
      log.scrollTop = log.scrollHeight;
    }
  } catch (error) {
    answer.state = error.name === "AbortError" ? "stopped" : "failed";
    if (error.name !== "AbortError") alert(error);
    if (!again && !answer.text && answer.state === "failed") input.value = words;
  } finally {
    if (running === mine) running = null;
    log.removeAttribute("aria-busy");
    if (study === now.id) draw();
  }
}

export function focusChat() {
  opened = true;
  draw();
  input.focus();
}
