// Paper: the whole film through its window, with its boxes, drawn anew whatever the screen shows.

import { h } from "./dom.js";
import { setting } from "./state.js";
import { colour, label } from "./terms.js";
import { shownFilms } from "./viewer.js";

const HIGH = 1600; // pixels of a film on paper
const sheet = h("div", { className: "print-film", "aria-hidden": "true" });

export function startPrint() {
  document.getElementById("viewer").append(sheet);
  addEventListener("beforeprint", () => sheet.replaceChildren(...shownFilms().map(drawn)));
  addEventListener("afterprint", () => sheet.replaceChildren());
}

function drawn(film) {
  const { rows, columns } = film.levels;
  const scale = Math.min(HIGH / rows, HIGH / columns);
  const canvas = h("canvas", { width: Math.round(columns * scale), height: Math.round(rows * scale) });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(film.picture, 0, 0, canvas.width, canvas.height);
  if (setting("boxes") === "off" || !film.report) return canvas;
  Object.assign(context, { lineWidth: 4, font: "36px sans-serif", textBaseline: "bottom" });
  for (const { finding, instance } of film.boxes()) {
    const [x0, y0, x1, y1] = instance.box.xyxy.map((v) => (v + 0.5) * scale);
    context.strokeStyle = colour(finding.name);
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    const words = label(finding, instance);
    const at = [Math.max(0, Math.min(x0, canvas.width - context.measureText(words).width)), Math.max(40, y0 - 4)];
    context.fillStyle = "rgb(8 10 13 / 85%)";
    context.fillRect(at[0], at[1] - 40, context.measureText(words).width + 6, 42);
    context.fillStyle = colour(finding.name);
    context.fillText(words, at[0] + 3, at[1]);
  }
  return canvas;
}
