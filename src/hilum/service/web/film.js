// One film on the screen: window, zoom, pan, turn, invert, boxes, lines.

import { h, s } from "./dom.js";
import { greys, Levels, parseNpy, presets } from "./levels.js";
import { setting } from "./state.js";
import { colour, label } from "./terms.js";
import { t } from "./words.js";

const LARGE = 3e6; // pixels above which a drag shows every second one

export class Film {
  /** `onchange` is called whenever what a toolbar or a second film shows may have changed. */
  constructor(onchange) {
    this.onchange = onchange;
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.marks = h("div", { className: "marks" });
    this.lines = s("svg", { class: "lines", "aria-hidden": "true" });
    this.sides = ["R", "L"].map((side) => h("span", { className: "side", "aria-hidden": "true", hidden: true }, side));
    this.corner = h("output", { className: "corner" });
    this.message = h("p", { className: "message" }, t("loading"));
    this.host = h("div", { className: "film", tabIndex: 0, role: "group" }, this.canvas, this.marks, this.lines, this.sides, this.corner, this.message);
    this.picture = h("canvas"); // the whole film as it is windowed, pixel for pixel
    this.measures = [];
    this.report = null;
    this.reset();
    new ResizeObserver(() => this.draw()).observe(this.host);
  }

  reset() {
    Object.assign(this, { zoom: 1, x: 0, y: 0, turn: 0, flipped: false });
  }

  load(buffer, about, report, view) {
    this.levels = new Levels(parseNpy(buffer));
    Object.assign(this, { about, report, view });
    this.presets = presets(this.levels, about);
    this.message.hidden = true;
    this.host.setAttribute("aria-label", t("film_label", { what: about.position ?? "" }));
    this.setPreset(0);
  }

  fail(why) {
    this.message.hidden = false;
    this.message.textContent = t("no_film", { why });
  }

  setPreset(number) {
    const preset = this.presets?.[number];
    if (preset) this.setWindow({ ...preset.window }, number);
  }

  setWindow(window, preset = -1, quick = false) {
    if (!this.levels) return;
    this.window = window;
    this.preset = preset;
    this.paint(quick && this.levels.numbers.length > LARGE ? 2 : 1);
    this.draw();
  }

  invert() {
    this.flipped = !this.flipped;
    this.setWindow(this.window, this.preset);
  }

  rotate() {
    this.turn = (this.turn + 1) % 4;
    [this.x, this.y] = [-this.y, this.x];
    this.draw();
  }

  /** The film's grey levels through the window, every `stride`-th pixel of them. */
  paint(stride) {
    const { levels } = this;
    const table = greys(levels, this.window, this.about.inverted !== this.flipped);
    const colours = Uint32Array.from(table, (v) => 0xff000000 | (v << 16) | (v << 8) | v);
    const [wide, high] = [Math.ceil(levels.columns / stride), Math.ceil(levels.rows / stride)];
    Object.assign(this.picture, { width: wide, height: high });
    const image = new ImageData(wide, high);
    const out = new Uint32Array(image.data.buffer);
    if (stride === 1) {
      for (let i = 0; i < out.length; i++) out[i] = colours[levels.numbers[i]];
    } else {
      for (let y = 0, o = 0; y < high; y++) {
        for (let x = 0, i = y * stride * levels.columns; x < wide; x++, i += stride) out[o++] = colours[levels.numbers[i]];
      }
    }
    this.picture.getContext("2d").putImageData(image, 0, 0);
  }

  /** From the film's pixels (centres at whole numbers) to the host's CSS pixels. */
  matrix() {
    const { clientWidth: w, clientHeight: hh } = this.host;
    const { rows, columns } = this.levels;
    const [wide, high] = this.turn % 2 ? [rows, columns] : [columns, rows];
    this.scale = Math.min(w / wide, hh / high) * this.zoom;
    return new DOMMatrix()
      .translateSelf(w / 2 + this.x, hh / 2 + this.y)
      .rotateSelf(90 * this.turn)
      .scaleSelf(this.scale)
      .translateSelf(0.5 - columns / 2, 0.5 - rows / 2);
  }

  draw() {
    if (!this.levels || !this.host.clientWidth) return;
    const ratio = window.devicePixelRatio;
    const { clientWidth: w, clientHeight: hh } = this.host;
    Object.assign(this.canvas, { width: Math.round(w * ratio), height: Math.round(hh * ratio) });
    const context = this.canvas.getContext("2d");
    const m = this.matrix();
    context.setTransform(new DOMMatrix().scaleSelf(ratio).multiplySelf(m));
    context.imageSmoothingEnabled = this.scale * ratio < 4; // magnified that far, pixels are shown as they are
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, -0.5, -0.5, this.levels.columns, this.levels.rows);
    this.drawMarks(m);
    this.drawLines(m);
    this.drawSides(m);
    this.say();
    this.onchange(this);
  }

  say(at = null) {
    const { center, width } = this.window;
    const round = (v) => (Math.abs(v) < 10 && v % 1 ? v.toFixed(2) : Math.round(v));
    const under = at && this.value(at);
    const parts = [t("cw", { c: round(center), w: round(width) }), `${Math.round(this.scale * window.devicePixelRatio * 100)} %`];
    if (under) parts.push(under);
    this.corner.textContent = parts.join("   ");
  }

  value({ x, y }) {
    const [column, row] = [Math.round(x), Math.round(y)];
    const { rows, columns } = this.levels;
    if (row < 0 || column < 0 || row >= rows || column >= columns) return null;
    return `(${column}, ${row}) ${Number(this.levels.value(row, column).toPrecision(6))}`;
  }

  drawMarks(m) {
    this.marks.replaceChildren();
    if (setting("boxes") === "off" || !this.report) return;
    const taken = [];
    for (const { finding, instance, number } of this.boxes()) {
      const [a, b] = [[0, 1], [2, 3]].map(([i, j]) => m.transformPoint({ x: instance.box.xyxy[i], y: instance.box.xyxy[j] }));
      const [left, top, right, bottom] = [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)];
      const words = h("span", {}, label(finding, instance));
      const box = h("div", { className: "box", "data-link": `${finding.name}:${number}` }, words);
      Object.assign(box.style, { left: `${left}px`, top: `${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
      box.style.setProperty("--c", colour(finding.name));
      this.marks.append(box);
      const at = words.getBoundingClientRect();
      const host = this.host.getBoundingClientRect();
      let [x, y] = [Math.max(0, Math.min(left, host.width - at.width)), Math.max(0, top - at.height - 2)];
      const hits = () => taken.find((o) => x < o.right && x + at.width > o.left && y < o.bottom && y + at.height > o.top);
      for (let other = hits(), tries = 0; other && tries < 20; other = hits(), tries++) y = other.bottom + 1;
      taken.push({ left: x, top: y, right: x + at.width, bottom: y + at.height });
      Object.assign(words.style, { left: `${x - left}px`, top: `${y - top}px` });
    }
  }

  /** What is marked on this view: present or uncertain, with a box; small boxes last, on top. */
  boxes() {
    const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
    return this.report.findings
      .filter((finding) => finding.status !== "absent")
      .flatMap((finding) => finding.instances.map((instance, number) => ({ finding, instance, number })))
      .filter(({ instance }) => instance.box?.view === this.view)
      .sort((a, b) => area(b.instance.box.xyxy) - area(a.instance.box.xyxy));
  }

  drawLines(m) {
    const mm = this.about.mm_per_pixel;
    this.lines.replaceChildren(...this.measures.flatMap(([a, b]) => {
      const [p, q] = [m.transformPoint(a), m.transformPoint(b)];
      const length = Math.hypot(a.x - b.x, a.y - b.y);
      const words = mm ? `${(length * mm).toFixed(1)} mm` : `${length.toFixed(0)} px`;
      const text = s("text", { x: q.x + 8, y: q.y - 6 }, words);
      text.append(s("title", {}, mm ? t("scale") : t("no_scale")));
      return [s("line", { x1: p.x, y1: p.y, x2: q.x, y2: q.y }), s("circle", { cx: p.x, cy: p.y, r: 3 }), s("circle", { cx: q.x, cy: q.y, r: 3 }), text];
    }));
  }

  /** R and L beside a frontal film that was read, where the patient's sides now are. */
  drawSides(m) {
    const frontal = ["PA", "AP"].includes(this.about.position) && this.report && this.report.gate.verdict === "accept";
    const { rows, columns } = this.levels;
    const { clientWidth: w, clientHeight: hh } = this.host;
    [[0, 0.06], [columns - 1, 0.06]].forEach(([x, share], i) => {
      const at = m.transformPoint({ x, y: share * rows });
      this.sides[i].hidden = !frontal;
      Object.assign(this.sides[i].style, { left: `${Math.max(14, Math.min(w - 14, at.x))}px`, top: `${Math.max(14, Math.min(hh - 14, at.y))}px` });
    });
  }

  toFilm(event) {
    const host = this.host.getBoundingClientRect();
    return this.matrix().inverse().transformPoint({ x: event.clientX - host.left, y: event.clientY - host.top });
  }

  /** Zoom by a factor, with what is under a point (of the host) staying there. */
  zoomBy(factor, point = { x: this.host.clientWidth / 2, y: this.host.clientHeight / 2 }) {
    const zoom = Math.max(0.2, Math.min(40, this.zoom * factor));
    const grown = zoom / this.zoom;
    const [cx, cy] = [point.x - this.host.clientWidth / 2, point.y - this.host.clientHeight / 2];
    [this.x, this.y, this.zoom] = [cx - (cx - this.x) * grown, cy - (cy - this.y) * grown, zoom];
    this.draw();
  }

  fit() {
    Object.assign(this, { zoom: 1, x: 0, y: 0 });
    this.draw();
  }

  /** Bring a box to the middle, a third of the film wide. */
  show(xyxy) {
    const { rows, columns } = this.levels;
    const share = Math.max((xyxy[2] - xyxy[0]) / columns, (xyxy[3] - xyxy[1]) / rows);
    Object.assign(this, { zoom: Math.max(1, Math.min(4, 0.33 / share)), x: 0, y: 0 });
    const at = this.matrix().transformPoint({ x: (xyxy[0] + xyxy[2]) / 2, y: (xyxy[1] + xyxy[3]) / 2 });
    [this.x, this.y] = [this.host.clientWidth / 2 - at.x, this.host.clientHeight / 2 - at.y];
    this.draw();
  }
}
