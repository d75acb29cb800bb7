// Elements and words. All text is inserted as text nodes, so whatever a record carries stays text.

const READ_ALOUD = new Set(["title", "aria-label"]);
const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

// h("p.quiet", {title: "…"}, "text", child, …): functions become listeners; false and null are left out.
export function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return filled(document.createElement(tag), classes, attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return filled(document.createElementNS(SVG, tag), classes, attributes, children);
}

function filled(element, classes, attributes, children) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name.startsWith("data-")) element.setAttribute(name, String(value));
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : READ_ALOUD.has(name) ? shownText(String(value)) : String(value));
    }
  }
  const kept = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...kept.map((child) => (child instanceof Node ? child : shownText(String(child)))));
  return element;
}

// What nobody could see stands as a code, as in schemas/shown_text.py: ids may hold any character.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}⟨\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\u{1d159}\u{e0100}-\u{e01ef}]/gu;
const OF_A_TEXT = "\n\t\u200c\u200d";

const code = (character) => `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;

export const shownId = (text) => text.replace(UNSEEN, code);
export const shownText = (text) => text.replace(UNSEEN, (character) => (OF_A_TEXT.includes(character) ? character : code(character)));

// A name from outside. It cannot turn the direction of the text around it.
export const foreign = (text) => filled(document.createElement("bdi"), [], {}, [document.createTextNode(shownId(text))]);

// A text of a person, which may have lines.
export const foreignText = (text) => h("bdi", {}, text);

export const DISEASES = {
  coronary_artery_disease: "Coronary artery disease",
  cardiomyopathy: "Cardiomyopathy",
  heart_failure: "Heart failure",
  pulmonary_hypertension: "Pulmonary hypertension",
  pericarditis: "Pericarditis",
};
const SHORT = {
  coronary_artery_disease: "CAD",
  cardiomyopathy: "CM",
  heart_failure: "HF",
  pulmonary_hypertension: "PH",
  pericarditis: "PC",
};
export const PRIORITIES = {
  high: { sign: "▲", words: "High" },
  medium: { sign: "◆", words: "Medium" },
  low: { sign: "●", words: "Low" },
};
export const STATES = {
  escalated: { open: true, sign: "⇧", words: "Escalated" },
  raised: { open: true, sign: "!", words: "Raised" },
  acknowledged: { open: false, sign: "✓", words: "Acknowledged" },
  expired: { open: false, sign: "○", words: "Expired" },
};
export const stateOf = (row) => STATES[row.status] ?? STATES.raised; // an unknown state counts as raised
export const priorityOf = (row) => PRIORITIES[row.priority] ?? PRIORITIES.low;
export const diseaseName = (code) => DISEASES[code] ?? code.replaceAll("_", " ");
export const diseaseShort = (code) => SHORT[code] ?? code;

export function percent(share) {
  const value = 100 * share;
  if (value < 1) return "< 1 %";
  if (value > 99) return "> 99 %";
  return `${Math.round(value)} %`;
}

export const age = (seconds) => duration(Date.now() / 1000 - seconds);

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")}`;
  return `${Math.floor(hours / 24)} days`;
}

const moment = new Intl.DateTimeFormat("en-GB", {
  year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
export const when = (seconds) => moment.format(new Date(1000 * seconds));

export const timeOf = (seconds, name = "time.age") =>
  h(name, { datetime: new Date(1000 * seconds).toISOString(), title: when(seconds), "data-since": seconds }, age(seconds));

// A bar from 0 to 1 with its threshold. The numbers stand beside the bar, so a screen reader does not need it.
export function meter(probability, threshold, flagged) {
  const fill = h("span.fill");
  const mark = h("span.threshold");
  fill.style.width = share(probability);
  mark.style.left = share(threshold);
  return h("span.meter", { "data-flagged": flagged, "aria-hidden": "true" }, fill, mark);
}

const share = (value) => `${100 * Math.max(0, Math.min(1, value))}%`;

export const PATIENCE_MS = 40_000; // the server itself gives up waiting for Kafka after 30 s

const json = (response) => response.json();

export const getJson = (path) => ask(path, json);

export const postJson = (path, body) =>
  ask(path, json, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

// Return bytes, and the head that says how to read them.
export const getBytes = (path) => ask(path, async (response) =>
  ({ head: JSON.parse(response.headers.get("x-head")), bytes: await response.arrayBuffer() }));

// Where the dashboard lies on its host: a proxy may give it a folder. All pages lie side by side in there, so every address
// is written from there. Links that change the view begin with "./".
export const HOME = new URL(".", location.href).pathname;

// The fetches for one place on the page. An answer is too late if a newer one, or another view, is drawn there already.
export class Turns {
  #taken = 0;
  #settled = 0;

  take() {
    this.#taken += 1;
    return this.#taken;
  }

  isLate(turn) {
    return turn <= this.#settled;
  }

  settle(turn = this.#taken) {
    this.#settled = turn;
  }
}

export class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

async function ask(path, read, { headers, ...options } = {}) {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  try {
    const response = await fetch(path, { ...options, headers: { accept: "application/json", ...headers }, signal });
    if (response.status === 401) location.reload(); // the page that asks for the token
    if (!response.ok) throw await refusal(response);
    return await read(response);
  } catch (error) {
    if (error.name === "TimeoutError") throw new Refusal(0, `the server did not answer within ${PATIENCE_MS / 1000} seconds`);
    if (error.name === "TypeError") throw new Refusal(0, "the server cannot be reached"); // what fetch throws then
    throw error;
  }
}

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  return new Refusal(response.status, body.error ?? `the server answered with status ${response.status}`);
}
