// The viewer: a toolbar, the film of the study, and an earlier one beside it.

import { get, pixels } from "./api.js";
import { byId, fill, h } from "./dom.js";
import { Film } from "./film.js";
import { handle } from "./hand.js";
import { choose, hear, now, setting } from "./state.js";
import { report, sentence } from "./terms.js";
import { t, when } from "./words.js";
import { names } from "./worklist.js";

const TOOLS = ["window", "pan", "measure"];
const bar = h("div", { className: "bar", role: "toolbar" });
const films = h("div", { className: "films" });
let [tool, view, current, prior, active, loading, others] = ["window", 0, null, null, null, null, []];

export function startViewer() {
  fill(byId("viewer"), bar, films);
  hear("worklist", (rows) => { others = rows; });
  hear("boxes", () => each((film) => film.draw()));
  hear("language", () => now.id && (each((film) => film.levels && film.draw()), toolbar()));
  hear("study", ({ fresh }) => {
    if (fresh) open();
    else if (current) {
      current.report = report();
      current.draw();
      toolbar();
    }
  });
  hear("leave", () => loading?.abort());
}

const each = (what) => [current, prior].filter(Boolean).forEach(what);

function made() {
  const film = new Film((changed) => { if (changed === active) update(); });
  handle(film, () => tool);
  film.host.addEventListener("pointerdown", () => { active = film; update(); });
  film.host.addEventListener("focus", () => { active = film; update(); });
  return film;
}

/** Show the study's film, and the prior that its context names. */
function open() {
  loading?.abort();
  loading = new AbortController();
  [view, prior] = [0, null];
  current = active = made();
  show(current, now.id, 0, report(), loading.signal);
  const named = now.shown.context.priors[0];
  if (named) compare(named);
  layout();
}

async function show(film, study, number, found, signal) {
  try {
    const { buffer, about } = await pixels(study, number, signal);
    film.load(buffer, about, found, number);
  } catch (error) {
    if (error.name !== "AbortError") film.fail(sentence(error));
  }
  toolbar();
}

async function compare(study) {
  prior = null;
  if (study) {
    const film = (prior = made());
    layout();
    try {
      const shown = await get(`/v1/studies/${study}`, { signal: loading.signal });
      film.caption = t("prior_of", { when: when(shown.created) });
      film.study = study;
      await show(film, study, 0, shown.report, loading.signal);
    } catch (error) {
      if (error.name !== "AbortError") film.fail(sentence(error));
    }
  }
  active = current;
  layout();
}

function layout() {
  const framed = (film, caption) => h("figure", {}, film.host, prior ? h("figcaption", {}, caption) : null);
  fill(films, framed(current, t("current")), prior && framed(prior, prior.caption ?? t("prior")));
  films.classList.toggle("two", Boolean(prior));
  toolbar();
}

function setView(number) {
  view = number;
  const film = made();
  current = active = film;
  layout();
  show(film, now.id, number, report(), loading.signal);
}

const button = (name, key, act, pressed) =>
  h("button", { type: "button", onclick: act, "aria-keyshortcuts": key, title: `${t(name)} (${key})`, "aria-pressed": pressed === undefined ? null : String(pressed) }, t(name));

function toolbar() {
  if (!current || !now.shown) return; // the next study is on its way
  bar.setAttribute("aria-label", t("viewer"));
  const select = h("select", { id: "preset", "aria-label": t("preset"), title: `${t("preset")} (1-9)`, onchange: (e) => active.setPreset(Number(e.target.value)) });
  const compared = h("select", { id: "prior", "aria-label": t("no_prior"), title: t("no_prior"), onchange: (e) => compare(e.target.value) },
    h("option", { value: "" }, `${t("no_prior")}: ${t("none")}`),
    others.filter((row) => row.id !== now.id).slice(0, 100).map((row) => h("option", { value: row.id, selected: row.id === prior?.study }, `${names.get(row.id) ?? row.id.slice(0, 8)} · ${when(row.created)}`)));
  const views = now.shown.views > 1 && Array.from({ length: now.shown.views }, (_, i) =>
    h("button", { type: "button", "aria-pressed": String(i === view), onclick: () => setView(i) }, t("view", { n: i + 1 })));
  fill(bar,
    views && h("div", { role: "group" }, views),
    h("div", { role: "group", "aria-label": t("tool") }, TOOLS.map((name) => button(`t_${name}`, name[0] === "w" ? "w" : name[0] === "p" ? "v" : "m", () => setTool(name), tool === name))),
    select,
    h("div", { role: "group" }, button("invert", "i", () => command("invert"), active.flipped), button("rotate", "r", () => command("rotate"))),
    h("div", { role: "group" },
      h("button", { type: "button", "aria-label": t("zoom_out"), onclick: () => command("zoom_out") }, "−"),
      button("fit", "0", () => command("fit")),
      h("button", { type: "button", "aria-label": t("zoom_in"), onclick: () => command("zoom_in") }, "+")),
    button("boxes", "o", () => command("boxes"), setting("boxes") === "on"),
    compared);
  update();
}

/** What changes with every drag: the preset that holds, and which buttons are pressed. */
function update() {
  const select = bar.querySelector("#preset");
  if (!select || !active?.presets) return;
  const stored = active.presets.filter((p) => p.name === "p_film").length;
  if (select.film !== active || select.options.length !== active.presets.length + 1) {
    fill(select, active.presets.map((p, i) => h("option", { value: i }, t(p.name, { n: stored > 1 ? p.n : "" }).trim())), h("option", { value: -1, disabled: true }, t("p_own")));
    select.film = active;
  }
  select.value = String(active.preset);
}

function setTool(name) {
  tool = name;
  films.dataset.tool = name;
  toolbar();
}

/** What a key or a button does to the film that was touched last. */
export function command(name) {
  if (!active?.levels) return;
  const commands = {
    invert: () => active.invert(), rotate: () => active.rotate(), fit: () => active.fit(),
    zoom_in: () => active.zoomBy(1.25), zoom_out: () => active.zoomBy(0.8),
    boxes: () => choose("boxes", setting("boxes") === "on" ? "off" : "on"),
    prior: () => bar.querySelector("#prior").focus(),
    clear: () => { active.measures = []; active.draw(); },
  };
  if (TOOLS.includes(name)) return setTool(name);
  if (name.startsWith("preset")) active.setPreset(Number(name.slice(6)));
  else commands[name]();
  toolbar();
}

/** Bring an instance's box into sight. */
export function showBox(name, number) {
  const box = report()?.findings.find((f) => f.name === name)?.instances[number]?.box;
  if (!box || !current?.levels) return;
  if (box.view !== view) setView(box.view);
  else current.show(box.xyxy);
}

/** The films that are shown, for printing. */
export const shownFilms = () => [current, prior].filter((film) => film?.levels);
