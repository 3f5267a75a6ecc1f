// Elements without HTML: whatever comes from the server is text, and only ever text.

const SVG = "http://www.w3.org/2000/svg";

/** A new element; `on*` are listeners, `class`, `data-*`, `aria-*` attributes, other keys properties. */
export function h(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-") && name !== "role") element[name] = value;
    else element.setAttribute(name === "className" ? "class" : name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The same of SVG; attributes only. */
export function s(tag, given = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Put children in the place of those that are there. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter(Boolean));
  return element;
}

/** A dialog with a title that closes by Escape; `build` fills it and gets a function that closes it. */
export function dialog(title, build) {
  const box = h("dialog", { className: "dialog", "aria-label": title });
  const close = () => box.close();
  box.append(h("h2", {}, title), ...[build(close)].flat().filter(Boolean));
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}
