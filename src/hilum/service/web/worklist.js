// The worklist: every study in triage order, with its probability, flags and live state.

import { get } from "./api.js";
import { alert } from "./alerts.js";
import { byId, fill, h } from "./dom.js";
import { hear, now, tell } from "./state.js";
import { code } from "./terms.js";
import { ago, percent, t } from "./words.js";

const FILTERS = {
  all: () => true,
  preliminary: (row) => row.review === "preliminary" && row.verdict === "accept",
  fracture: (row) => row.fracture_called,
  disagree: (row) => row.flags.includes("text_disagrees"),
  abstained: (row) => row.verdict === "abstain",
  problem: (row) => ["failed", "quarantined"].includes(row.state),
  approved: (row) => row.review === "approved",
  rejected: (row) => row.review === "rejected",
};
const PAGE = 200;
let [rows, total, filter, shown, timer, down] = [[], 0, "all", PAGE, null, false];

/** Names that this tab's files had; they never leave it. */
export const names = new Map();

export function startWorklist() {
  byId("more").addEventListener("click", () => { shown += PAGE; refresh(); });
  hear("language", draw);
  hear("study", draw);
  hear("leave", draw);
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
}

const busy = () => rows.some((row) => ["queued", "running"].includes(row.state));

/** Ask for the list again; soon once more while something is being read. */
export async function refresh() {
  clearTimeout(timer);
  try {
    const found = [];
    for (let offset = 0; offset < shown; offset += 500) {
      const page = await get(`/v1/studies?limit=${Math.min(500, shown - offset)}&offset=${offset}`);
      total = page.total;
      found.push(...page.studies);
    }
    rows = found;
    down = false;
    tell("worklist", rows);
    draw();
  } catch (error) {
    if (!down) alert(error); // once, not at every look
    down = true;
    if (error.code === "key_refused") return;
  }
  if (!document.hidden) timer = setTimeout(refresh, busy() ? 1500 : 10000);
}

function draw() {
  const focused = document.activeElement?.dataset?.row;
  const count = (state) => rows.filter((row) => row.state === state).length;
  const [queued, running] = [count("queued"), count("running")];
  const said = queued + running ? t("jobs_some", { queued, running }) : t("jobs_none");
  if (byId("jobs").textContent !== said) byId("jobs").textContent = said;
  const chips = Object.entries(FILTERS).map(([name, fits]) => [name, rows.filter(fits).length]);
  fill(byId("filters"), chips.filter(([name, n]) => n || name === "all" || name === filter).map(([name, n]) =>
    h("button", { type: "button", className: "chip", "aria-pressed": String(name === filter), "data-filter": name, onclick: () => { filter = name; draw(); byId("filters").querySelector(`[data-filter=${name}]`)?.focus(); } }, t(`f_${name}`), h("b", {}, ` ${n}`))));
  const fitting = rows.filter(FILTERS[filter]);
  fill(byId("rows"), fitting.map((row) => h("li", {}, line(row))));
  byId("empty").hidden = fitting.length > 0;
  byId("empty").textContent = t(rows.length ? "empty_filter" : "empty");
  byId("more").hidden = total <= rows.length;
  if (focused) byId("rows").querySelector(`[data-row="${focused}"]`)?.focus({ preventScroll: true });
}

function line(row) {
  const p = row.fracture_probability;
  const flags = row.flags.includes("text_disagrees");
  const words = [row.context.age !== null && t("age", { n: row.context.age }), row.context.sex && t(row.context.sex), row.context.indication && t(row.context.indication)].filter(Boolean);
  return h("a", { href: `#s=${row.id}`, className: `row ${row.state}`, "data-row": row.id, "aria-current": row.id === now.id ? "true" : null },
    h("span", { className: `rank ${row.priority}` }, t(row.priority)),
    h("span", { className: "who" }, h("strong", {}, names.get(row.id) ?? row.id.slice(0, 8)), h("small", {}, [...words, ago(row.created)].join(" · "))),
    h("span", { className: "chance" }, chance(row, p)),
    h("span", { className: "tags" },
      flags && h("em", { className: "warn" }, t("check_first")),
      h("em", { className: tag(row) }, status(row))));
}

const tag = (row) => (row.state !== "done" ? row.state : row.verdict === "abstain" ? "abstain" : row.review);

function status(row) {
  if (row.state !== "done") return row.error ? `${t(row.state)}: ${code(row.error)}` : t(row.state);
  return row.verdict === "abstain" ? t("not_read") : t(row.review);
}

function chance(row, p) {
  if (row.state !== "done" || row.verdict === "abstain") return row.state === "running" ? h("progress", { "aria-label": t("running") }) : null;
  if (p === null) return h("small", {}, t("no_p"));
  const bar = h("span", { className: `bar-of ${row.fracture_called ? "high" : ""}`, "aria-hidden": "true" }, h("i"));
  bar.firstChild.style.width = `${p * 100}%`;
  return [bar, h("small", {}, t("fracture_p", { p: percent(p) }))];
}

/** The study before or after the one that is open, as the list shows them. */
export function neighbour(step) {
  const every = [...byId("rows").querySelectorAll("[data-row]")];
  const here = every.findIndex((row) => row.dataset.row === (now.id ?? document.activeElement?.dataset?.row));
  const next = every[Math.max(0, Math.min(every.length - 1, here + step))];
  if (!next) return;
  if (now.id) location.hash = `s=${next.dataset.row}`;
  else next.focus();
}
