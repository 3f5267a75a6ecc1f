// Adding films: chosen, or dropped anywhere, folders too; sent in portions, with progress.

import { alert } from "./alerts.js";
import { upload } from "./api.js";
import { byId, dialog, h } from "./dom.js";
import { may, now } from "./state.js";
import { sentence } from "./terms.js";
import { language, t } from "./words.js";
import { names, refresh } from "./worklist.js";

const SEXES = ["F", "M", "O"];
const INDICATIONS = ["trauma", "chest_pain", "cough", "dyspnoea", "fever", "screening", "preoperative", "follow_up", "device_position", "other"];

export function startDrop() {
  const input = byId("files");
  byId("upload").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    offer([...input.files]);
    input.value = "";
  });
  let depth = 0;
  const over = (change) => {
    depth = change;
    byId("drop").hidden = depth <= 0;
  };
  const withFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => withFiles(event) && over(depth + 1));
  addEventListener("dragleave", (event) => withFiles(event) && over(depth - 1));
  addEventListener("dragover", (event) => withFiles(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!withFiles(event)) return;
    event.preventDefault();
    over(0);
    offer(await dropped(event.dataTransfer));
  });
}

/** Every file that was dropped, those in folders too. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) found.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    else {
      const reader = entry.createReader();
      for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length; ) {
        for (const one of some) await walk(one);
      }
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

const choice = (id, words, values, blank) => h("label", {}, words, h("select", { id }, blank && h("option", { value: "" }, t("unknown")), values.map((value) => h("option", { value }, t(value)))));

/** Ask for what goes with the files, then send them. */
function offer(files) {
  if (!files.length || document.querySelector("dialog[open]")) return;
  if (!may("write")) return alert({ code: "scope_missing" });
  dialog(t("send_title"), (close) => h("form", { method: "dialog", onsubmit: (event) => {
    event.preventDefault();
    const fields = read(event.target);
    close();
    send(files, fields);
  } },
    h("p", {}, t("chosen", { n: files.length })),
    choice("o-priority", t("priority"), ["routine", "urgent", "stat"]),
    h("div", { className: "pair" },
      h("label", {}, t("age_label"), h("input", { id: "o-age", type: "number", min: 0, max: 130 })),
      choice("o-sex", t("sex_label"), SEXES, true)),
    choice("o-indication", t("indication"), INDICATIONS, true),
    now.id && h("label", { className: "check" }, h("input", { id: "o-prior", type: "checkbox" }), `${t("prior_label")}: ${names.get(now.id) ?? now.id.slice(0, 8)}`),
    files.length > 1 && h("label", { className: "check" }, h("input", { id: "o-together", type: "checkbox" }), t("together")),
    h("menu", {}, h("button", { type: "button", onclick: close }, t("cancel")), h("button", { type: "submit", className: "primary", autofocus: true }, t("send")))));
}

function read(form) {
  const value = (id) => form.querySelector(`#o-${id}`)?.value || undefined;
  const checked = (id) => Boolean(form.querySelector(`#o-${id}`)?.checked);
  const age = value("age");
  const context = { age: age === undefined ? undefined : Number(age), sex: value("sex"), indication: value("indication"), priors: checked("prior") ? [now.id] : undefined };
  return { language: language(), priority: value("priority") ?? "routine", together: String(checked("together")), context: JSON.stringify(context) };
}

/** Files in portions that the server takes at once; all views of one study go together. */
function portions(files, together) {
  const most = { files: Math.min(16, now.session.files), bytes: now.session.body_bytes * 0.9 };
  if (together) return [files];
  const found = [[]];
  let bytes = 0;
  for (const file of files) {
    if (found.at(-1).length && (found.at(-1).length >= most.files || bytes + file.size > most.bytes)) {
      found.push([]);
      bytes = 0;
    }
    found.at(-1).push(file);
    bytes += file.size;
  }
  return found;
}

async function send(files, fields) {
  const [bar, words] = [h("progress", { max: 1, value: 0, "aria-label": t("send_title") }), h("span")];
  const box = byId("sending");
  box.replaceChildren(bar, words);
  box.hidden = false;
  const size = files.reduce((sum, file) => sum + file.size, 0) || 1;
  const tally = { taken: [], refused: [] };
  let [before, first] = [0, 0];
  for (const some of portions(files, fields.together === "true")) {
    const bytes = some.reduce((sum, file) => sum + file.size, 0);
    try {
      const answer = await upload(some, fields, (share) => {
        bar.value = (before + share * bytes) / size;
        words.textContent = t("sending", { n: files.length, p: Math.floor(bar.value * 100) });
      });
      tally.taken.push(...answer.studies);
      if (some.length === 1 && answer.studies.length === 1) names.set(answer.studies[0].id, some[0].name);
      tally.refused.push(...answer.refused.map(({ error }) => [first + (error.file ?? 0), { sentences: [error.message, error.message_zh], code: error.code }]));
    } catch (error) {
      some.forEach((_, i) => (error.file === undefined || error.file === null || i === error.file) && tally.refused.push([first + i, error]));
    }
    [before, first] = [before + bytes, first + some.length];
    refresh();
  }
  box.hidden = true;
  for (const [number, error] of tally.refused.slice(0, 4)) alert({ code: error.code, message: t("refused_file", { n: `${number + 1} (${files[number]?.name ?? "?"})`, why: sentence(error) }), sentences: null, plain: true });
  if (tally.taken.length) alert(t("sent", { n: tally.taken.length, k: tally.refused.length }), "done");
  if (tally.taken.length === 1) location.hash = `s=${tally.taken[0].id}`;
}
