// What the page remembers: in this tab, in this browser, and while it is open.

const DEFAULTS = { language: navigator.language.startsWith("zh") ? "zh" : "en", theme: "dark", keys: "on", boxes: "on" };
const CHOICES = { language: ["en", "zh"], theme: ["dark", "light"], keys: ["on", "off"], boxes: ["on", "off"] };

/** Things that are told to whoever listens: "language", "study", "review", "session", ... */
export const bus = new EventTarget();
export const tell = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }));
export const hear = (name, listener) => bus.addEventListener(name, (event) => listener(event.detail));

/** A choice of this browser, kept where the browser lets us. */
export function setting(name) {
  let kept = null;
  try {
    kept = localStorage.getItem(`hilum.${name}`);
  } catch { /* a browser that keeps nothing */ }
  return CHOICES[name].includes(kept) ? kept : chosen[name] ?? DEFAULTS[name];
}
const chosen = {};

export function choose(name, value) {
  chosen[name] = value;
  try {
    localStorage.setItem(`hilum.${name}`, value);
  } catch { /* for this visit only */ }
  tell(name, value);
}

/** The API key lives in the tab alone. */
export const key = {
  get: () => sessionStorage.getItem("hilum.key"),
  set: (value) => (value ? sessionStorage.setItem("hilum.key", value) : sessionStorage.removeItem("hilum.key")),
};

/** The study that is looked at: its id, what the server shows of it, and its review. */
export const now = { id: null, shown: null, review: null, session: null };
export const may = (scope) => Boolean(now.session?.scopes.some((held) => RANK[held] >= RANK[scope]));
const RANK = { read: 0, write: 1, admin: 2 };
