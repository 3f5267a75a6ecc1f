// What went wrong, in a sentence with its code, until it is dismissed.

import { byId, h } from "./dom.js";
import { sentence } from "./terms.js";
import { t } from "./words.js";

/** Show an error, or a plain sentence with `kind` "done" that goes by itself. */
export function alert(error, kind = "error") {
  const words = typeof error === "string" ? error : sentence(error);
  const code = error.code && h("code", {}, error.code);
  const box = h("p", { className: `alert ${kind}` }, h("span", {}, words), code, h("button", { type: "button", "aria-label": t("dismiss"), onclick: () => box.remove() }, "×"));
  const host = byId("alerts");
  for (const old of [...host.children]) if (old.textContent === box.textContent) old.remove();
  host.append(box);
  while (host.children.length > 4) host.firstChild.remove();
  if (kind === "done") setTimeout(() => box.remove(), 4000);
}

/** Run something; an error that it ends with is shown. */
export async function shown(what) {
  try {
    return await what();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    alert(error);
    return undefined;
  }
}
