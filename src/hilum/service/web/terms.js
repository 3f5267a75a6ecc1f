// Names of findings, places and codes, as the server's one table has them.

import { pick, t } from "./words.js";
import { now } from "./state.js";

let table = null;

export async function loadTerms() {
  table = await (await fetch("/page/terms.json")).json();
}

export const notice = () => pick(table.notice);
export const term = (name) => (table.findings[name] ? pick(table.findings[name].words) : name);
export const colour = (name) => table.findings[name]?.colour ?? "#c9a7ff";
export const code = (name) => (table.codes[name] ? pick(table.codes[name]) : t(name));

/** A refusal as a sentence; the server's own words, in the page's language. */
export function sentence(error) {
  const own = error.sentences ? pick(error.sentences) : null;
  if (error.plain) return error.message;
  return own ?? (error.code ? code(error.code) : String(error.message ?? error));
}

const placed = (kind, value) => (value && table.places[kind][value] ? pick(table.places[kind][value]) : "");

/** Where an instance is: "left 6th rib", "左第6肋"; empty where nothing is known. */
export function place(instance) {
  const ribs = instance.ribs.length ? (pick([true, false]) ? `rib ${instance.ribs.join(", ")}` : `第${instance.ribs.join("、")}肋`) : placed("bone", instance.bone);
  const parts = [placed("side", instance.side), ribs, placed("region", instance.region)].filter(Boolean);
  return parts.join(pick([" ", ""]));
}

/** What stands at a box. */
export function label(finding, instance) {
  const chance = instance.probability ?? (finding.instances.length === 1 ? finding.probability : null);
  const words = instance.ribs.length ? pick([`rib ${instance.ribs.join(", ")} ${term(finding.name)}`, `第${instance.ribs.join("、")}肋${term(finding.name)}`]) : term(finding.name);
  const sure = finding.status === "uncertain" ? " ?" : "";
  return chance === null ? words + sure : `${words}${sure} ${shortPercent(chance)}`;
}

const shortPercent = (p) => (p < 0.01 ? "<1 %" : p > 0.99 ? ">99 %" : `${Math.round(p * 100)} %`);

/** A person in a review: the key's name, or this machine. */
export const person = (step) => step.name ?? (step.who === "local" ? t("who_local") : step.who);
export const report = () => now.shown?.report ?? null;
