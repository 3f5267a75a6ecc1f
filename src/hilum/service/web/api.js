// The server: requests with the key, errors with their code, uploads with progress, streams.

import { key, tell } from "./state.js";

/** What the server refused: `code`, and a sentence in both languages. */
export class Refusal extends Error {
  constructor(error, status) {
    super(error?.message ?? `HTTP ${status}`);
    this.code = error?.code ?? "unreachable";
    this.sentences = [error?.message, error?.message_zh];
    this.status = status;
  }
}

const headers = (more = {}) => (key.get() ? { Authorization: `Bearer ${key.get()}`, ...more } : more);

async function refused(answer) {
  const body = await answer.json().catch(() => null);
  const refusal = new Refusal(body?.error, answer.status);
  if (refusal.code === "key_refused") tell("locked");
  return refusal;
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(null, 0);
  }
  if (!answer.ok) throw await refused(answer);
  return answer;
}

export const get = async (path, options) => (await ask(path, options)).json();

export const post = async (path, body) =>
  (await ask(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } })).json();

/** A film's grey levels and what the server says of them. */
export async function pixels(study, view, signal) {
  const answer = await ask(`/v1/studies/${study}/pixels?view=${view}`, { signal });
  return { buffer: await answer.arrayBuffer(), about: JSON.parse(answer.headers.get("Hilum-View")) };
}

/** Send films; `onprogress` gets 0 to 1. File names stay here. */
export function upload(files, fields, onprogress) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const file of files) form.append("files", file, "film");
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/studies");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onprogress(event.loaded / event.total);
    request.onerror = () => reject(new Refusal(null, 0));
    request.onload = () => {
      let body = null;
      try {
        body = JSON.parse(request.responseText);
      } catch { /* no body that can be understood */ }
      if (request.status < 300 && body) resolve(body);
      else {
        const refusal = new Refusal(body?.error, request.status);
        refusal.file = body?.error?.file;
        if (refusal.code === "key_refused") tell("locked");
        reject(refusal);
      }
    };
    request.send(form);
  });
}

/** Server-sent events of a POST, as they come; ends at [DONE]. */
export async function* events(path, body, signal) {
  const answer = await ask(path, {
    method: "POST", body: JSON.stringify(body), signal, headers: { "Content-Type": "application/json" },
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) throw new Refusal(null, 0); // no [DONE]: the connection was lost
    rest += value;
    const whole = rest.split("\n\n");
    rest = whole.pop();
    for (const event of whole) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const told = JSON.parse(data);
      if (told.error) throw new Refusal(told.error, answer.status);
      yield told;
    }
  }
}
