// Grey levels at full bit depth: a NumPy file to levels, a window to a table, presets.
// Windows are those of DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3, as hilum.study.Window applies them.

const f = Math.fround; // NumPy computes in float32: the same here, or a level in a thousand differs

/** An .npy file (version 1 or 2): 2-D, uint16 or float32, little endian, C order. */
export function parseNpy(buffer) {
  const bytes = new Uint8Array(buffer);
  const version = bytes[6];
  const at = version === 1 ? 10 : 12;
  const view = new DataView(buffer);
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const header = new TextDecoder("latin1").decode(bytes.subarray(at, at + length));
  const kind = /'descr': '([^']+)'/.exec(header)?.[1];
  const shape = /'shape': \((\d+), (\d+)\)/.exec(header);
  const kinds = { "<u2": Uint16Array, "<f4": Float32Array };
  if (!kinds[kind] || !shape || /'fortran_order': True/.test(header)) throw new Error("not a film of grey levels");
  const [rows, columns] = [Number(shape[1]), Number(shape[2])];
  return { values: new kinds[kind](buffer.slice(at + length), 0, rows * columns), rows, columns };
}

/** Levels numbered from 0, at most 65536 of them; the value of number i is low + i * step. */
export class Levels {
  constructor({ values, rows, columns }) {
    Object.assign(this, { rows, columns });
    let [low, high] = [Infinity, -Infinity];
    for (let i = 0; i < values.length; i++) {
      if (values[i] < low) low = values[i];
      if (values[i] > high) high = values[i];
    }
    this.min = low;
    this.max = high;
    if (values instanceof Uint16Array) {
      [this.low, this.step, this.numbers] = [0, 1, values];
    } else {
      [this.low, this.step] = [low, (high - low) / 65535 || 1];
      this.numbers = new Uint16Array(values.length);
      for (let i = 0; i < values.length; i++) this.numbers[i] = Math.round((values[i] - low) / this.step);
    }
    this.count = Math.round((high - this.low) / this.step) + 1;
  }

  value(row, column) {
    return this.low + this.numbers[row * this.columns + column] * this.step;
  }

  /** The values below which these shares of the film lie. */
  quantiles(shares) {
    if (!this.histogram) {
      this.histogram = new Uint32Array(this.count);
      for (const number of this.numbers) this.histogram[number]++;
    }
    return shares.map((share) => {
      let [left, i] = [share * this.numbers.length, 0];
      while (i < this.count - 1 && left > this.histogram[i]) left -= this.histogram[i++];
      return this.low + i * this.step;
    });
  }
}

/** A window that shows `low` as black and `high` as white (before any inversion). */
export const between = (low, high) => ({ center: (low + high) / 2, width: Math.max(high - low, 1e-6), function: "LINEAR_EXACT" });

function shown(value, window) {
  if (window.function === "SIGMOID") {
    return 1 / (1 + Math.exp(Math.max(-80, Math.min(80, (-4 * (value - window.center)) / window.width))));
  }
  if (window.function === "LINEAR_EXACT") return f(f(f(value - window.center) / f(window.width)) + 0.5);
  if (window.width <= 1) return value > window.center - 0.5 ? 1 : 0;
  return f(f(f(value - f(window.center - 0.5)) / f(window.width - 1)) + 0.5);
}

/** Half to even, as NumPy rounds. */
function rint(x) {
  const up = Math.round(x);
  return up - x === 0.5 && up % 2 ? up - 1 : up;
}

/** The grey (0 black to 255 white) of every level. */
export function greys(levels, window, inverted) {
  const table = new Uint8Array(levels.count);
  if (levels.max <= levels.min) return table;
  for (let i = 0; i < levels.count; i++) {
    const share = Math.max(0, Math.min(1, shown(f(levels.low + i * levels.step), window)));
    table[i] = rint(f(f(inverted ? 1 - share : share) * 255));
  }
  return table;
}

// Shares of the film, from its dark to its bright end, that a preset spreads from black to white.
const SPREAD = { bone: [0.5, 0.999], lung: [0.02, 0.62], soft: [0.1, 0.98] };

/** The windows to choose from: those of the film, then ours. `name` and, of several, `n`. */
export function presets(levels, about) {
  const stored = about.windows.map((window, i) => ({ name: "p_film", n: i + 1, window }));
  const own = Object.entries(SPREAD).map(([name, ends]) => {
    const shares = about.inverted ? ends.map((end) => 1 - end).reverse() : ends;
    const [low, high] = levels.quantiles(shares);
    return { name: `p_${name}`, window: between(low, high) };
  });
  return [...stored, { name: "p_full", window: between(levels.min, levels.max) }, ...own];
}
