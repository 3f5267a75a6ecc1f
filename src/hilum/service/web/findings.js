// Findings with their probabilities and thresholds, and where a draft comes from.

import { h } from "./dom.js";
import { colour, place, term } from "./terms.js";
import { percent, t } from "./words.js";

const tokens = (finding) => [finding.name, ...finding.instances.map((_, i) => `${finding.name}:${i}`)].join(" ");

/** What is there first, then what may be, then what is not; the likelier the earlier. */
function order(findings) {
  const rank = { present: 0, uncertain: 1, absent: 2 };
  return [...findings].sort((a, b) => rank[a.status] - rank[b.status] || (b.probability ?? 0) - (a.probability ?? 0));
}

export function findingsOf(report, onshow) {
  return h("section", { className: "findings" },
    h("h3", {}, t("findings")),
    h("ul", {}, order(report.findings).map((finding) => row(finding, report.provenance, onshow))),
    h("p", { className: "faint" }, t("tick")));
}

function row(finding, provenance, onshow) {
  const [p, at] = [finding.probability, provenance.thresholds[finding.name] ?? null];
  const boxed = finding.instances.findIndex((instance) => instance.box);
  const places = finding.status === "absent" ? [] : finding.instances.map(place).filter(Boolean);
  const words = [h("span", { className: "name" }, term(finding.name), places.length > 0 && h("small", {}, places.join(", "))),
    bar(finding, p, at, provenance.doubts[finding.name] ?? null),
    h("span", { className: "sr" }, t("probability")),
    h("b", { className: "number" }, percent(p)),
    at !== null && h("span", { className: "sr" }, t("threshold", { p: percent(at) })),
    h("em", { className: finding.status }, t(finding.status))];
  const given = { className: `finding ${finding.status}`, "data-link": tokens(finding), title: at === null ? "" : t("threshold", { p: percent(at) }) };
  return h("li", {}, boxed < 0 ? h("div", { ...given, tabIndex: 0, role: "group" }, words)
    : h("button", { ...given, type: "button", onclick: () => onshow(finding.name, boxed) }, words));
}

function bar(finding, p, at, doubt) {
  const track = h("span", { className: "bar-of", "aria-hidden": "true" });
  if (p === null) return track;
  const part = (tag, share, name) => {
    const piece = h(tag, { className: name });
    piece.style[tag === "i" ? "width" : "left"] = `${share * 100}%`;
    return piece;
  };
  track.style.setProperty("--c", colour(finding.name));
  track.append(part("i", p, ""));
  if (doubt !== null) track.append(part("u", doubt, "doubt"));
  if (at !== null) track.append(part("u", at, ""));
  return track;
}

/** Reader, weights, licence, calibration and thresholds, folded away. */
export function originOf(report) {
  const from = report.provenance;
  const pairs = (table, show) => Object.entries(table).map(([name, value]) => show(name, value)).join(", ");
  const lines = [
    ["a_reader", from.reader],
    ["a_weights", from.weights_sha256.slice(0, 16)],
    ["a_licence", from.licence],
    ["a_calibration", from.calibration ? `${t("site", { s: from.calibration.site })} (${from.calibration.sha256.slice(0, 12)})` : t("packaged")],
    ["a_thresholds", pairs(from.thresholds, (name, p) => `${term(name)} ${percent(p)}`)],
    ["a_versions", pairs(from.versions, (name, version) => `${name} ${version}`)],
  ];
  return h("details", { className: "origin" }, h("summary", {}, t("about")),
    h("dl", {}, lines.filter(([, words]) => words).map(([name, words]) => [h("dt", {}, t(name)), h("dd", {}, words)])));
}
