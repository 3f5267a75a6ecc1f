// What a hand does on a film: drag by the chosen tool, wheel, arrow keys.

const STEP = 40; // CSS pixels that an arrow key moves the film

/** Listen on a film. `tool()` is "window", "pan" or "measure". */
export function handle(film, tool) {
  const { host } = film;
  let drag = null;

  host.addEventListener("pointerdown", (event) => {
    if (!film.levels || event.button > 2) return;
    const how = event.button === 1 || event.shiftKey ? "pan" : event.button === 2 ? "window" : tool();
    drag = { how, x: event.clientX, y: event.clientY, from: { x: film.x, y: film.y }, window: { ...film.window } };
    if (how === "measure") {
      drag.line = [film.toFilm(event), film.toFilm(event)];
      film.measures.push(drag.line);
    }
    host.setPointerCapture(event.pointerId);
  });

  host.addEventListener("pointermove", (event) => {
    if (!film.levels) return;
    if (!drag) return film.say(film.toFilm(event));
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    if (drag.how === "pan") {
      Object.assign(film, { x: drag.from.x + dx, y: drag.from.y + dy });
      film.draw();
    } else if (drag.how === "measure") {
      drag.line[1] = film.toFilm(event);
      film.draw();
    } else {
      turnWindow(film, drag.window, dx / host.clientWidth, dy / host.clientHeight, true);
    }
  });

  const end = () => {
    if (!drag) return;
    const { how, line } = drag;
    drag = null;
    if (how === "window" && film.preset < 0) film.setWindow(film.window);
    if (how === "measure" && Math.hypot(line[0].x - line[1].x, line[0].y - line[1].y) < 2) {
      film.measures.pop();
      film.draw();
    }
  };
  host.addEventListener("pointerup", end);
  host.addEventListener("pointercancel", end);
  host.addEventListener("contextmenu", (event) => event.preventDefault());
  host.addEventListener("dblclick", () => film.fit());
  host.addEventListener("wheel", (event) => {
    if (!film.levels) return;
    event.preventDefault();
    const box = host.getBoundingClientRect();
    film.zoomBy(Math.exp(-event.deltaY / 400), { x: event.clientX - box.left, y: event.clientY - box.top });
  }, { passive: false });

  host.addEventListener("keydown", (event) => {
    const at = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!film.levels || event.ctrlKey || event.metaKey || event.altKey) return;
    if (at && event.shiftKey) turnWindow(film, film.window, at[0] / 20, at[1] / 20);
    else if (at) {
      film.x += at[0] * STEP;
      film.y += at[1] * STEP;
      film.draw();
    } else if (["Delete", "Backspace"].includes(event.key)) {
      film.measures.pop();
      film.draw();
    } else return;
    event.preventDefault();
  });
}

/** Right: wider, less contrast. Down: a higher centre, darker (the other way round on a negative). */
function turnWindow(film, from, dx, dy, quick = false) {
  const range = film.levels.max - film.levels.min || 1;
  const sign = film.about.inverted !== film.flipped ? -1 : 1;
  const width = Math.max(range / 1000, Math.min(range * 4, from.width + dx * range * 2));
  film.setWindow({ ...from, width, center: from.center + sign * dy * range }, -1, quick);
}
