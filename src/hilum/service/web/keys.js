// Keys, and the sheet that tells them. Single letters can be turned off (WCAG 2.1.4).

import { focusChat } from "./chat.js";
import { byId, dialog, h } from "./dom.js";
import { copy } from "./draft.js";
import { approve, edit, reject } from "./review.js";
import { choose, now, setting } from "./state.js";
import { command } from "./viewer.js";
import { language, t } from "./words.js";
import { neighbour } from "./worklist.js";

const flip = (name, a, b) => choose(name, setting(name) === a ? b : a);
const inStudy = (act) => () => now.id && act();

// key, what it says on the sheet [en, zh], what it does; groups in the order of the sheet
const SHEET = [
  [["Worklist", "列表"], [
    ["j", ["next study", "下一个检查"], () => neighbour(1)],
    ["k", ["previous study", "上一个检查"], () => neighbour(-1)],
    ["Enter", ["open", "打开"], null],
    ["b", ["back to the list", "返回列表"], () => { location.hash = ""; }],
    ["u", ["add films", "添加影像"], () => byId("upload").click()],
  ]],
  [["Film", "影像"], [
    ["w", ["drag changes the window", "拖动调窗"], inStudy(() => command("window"))],
    ["v", ["drag moves the film", "拖动平移"], inStudy(() => command("pan"))],
    ["m", ["drag measures", "拖动测量"], inStudy(() => command("measure"))],
    ["1-9", ["window presets", "预设窗"], null],
    ["i", ["invert", "反相"], inStudy(() => command("invert"))],
    ["r", ["rotate", "旋转"], inStudy(() => command("rotate"))],
    ["+", ["zoom in", "放大"], inStudy(() => command("zoom_in"))],
    ["-", ["zoom out", "缩小"], inStudy(() => command("zoom_out"))],
    ["0", ["fit", "适合窗口"], inStudy(() => command("fit"))],
    ["o", ["boxes on and off", "显示或隐藏标注框"], inStudy(() => command("boxes"))],
    ["p", ["choose a prior", "选择对比检查"], inStudy(() => command("prior"))],
    ["d", ["remove the lines", "清除测量"], inStudy(() => command("clear"))],
    ["← ↑ → ↓", ["move; with Shift: window", "移动；加 Shift 调窗"], null],
  ]],
  [["Report", "报告"], [
    ["e", ["edit (Ctrl+Enter saves, Esc leaves)", "编辑（Ctrl+Enter 保存，Esc 退出）"], inStudy(edit)],
    ["a", ["approve", "审核通过"], inStudy(approve)],
    ["x", ["reject", "退回"], inStudy(reject)],
    ["y", ["copy", "复制"], inStudy(copy)],
    ["c", ["ask about the study", "询问本检查"], inStudy(focusChat)],
  ]],
  [["Page", "页面"], [
    ["l", ["中文", "English"], () => flip("language", "en", "zh")],
    ["t", ["light or dark", "亮色或暗色"], () => flip("theme", "dark", "light")],
    ["?", ["this sheet", "本说明"], () => help()],
  ]],
];
const ACTS = new Map(SHEET.flatMap(([, keys]) => keys.filter(([, , act]) => act).map(([key, , act]) => [key, act])));

export function startKeys() {
  byId("help").addEventListener("click", help);
  byId("language").addEventListener("click", ACTS.get("l"));
  byId("theme").addEventListener("click", ACTS.get("t"));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest("input, textarea, select, dialog")) return;
    if (setting("keys") === "off" && event.key !== "?") return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const act = /^[1-9]$/.test(key) ? inStudy(() => command(`preset${Number(key) - 1}`)) : key === "=" ? ACTS.get("+") : ACTS.get(key);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function help() {
  if (document.querySelector("dialog[open]")) return;
  const column = language() === "zh" ? 1 : 0;
  dialog(t("keys"), (close) => [
    h("div", { className: "sheet" }, SHEET.map(([title, keys]) => h("section", {}, h("h3", {}, title[column]),
      h("dl", {}, keys.map(([key, words]) => [h("dt", {}, h("kbd", {}, /^[a-z]$/.test(key) ? key.toUpperCase() : key)), h("dd", {}, words[column])]))))),
    h("label", { className: "check" }, h("input", { type: "checkbox", id: "single", checked: setting("keys") === "on", onchange: (e) => choose("keys", e.target.checked ? "on" : "off") }), t("single")),
    h("menu", {}, h("button", { type: "button", className: "primary", autofocus: true, onclick: close }, t("close")))]);
}
