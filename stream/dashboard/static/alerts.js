// The list of alerts. The page holds the rows that the server keeps, and draws the most urgent ones that match the filters.

import { DISEASES, byId, diseaseName, duration, foreign, h, meter, percent, priorityOf, shownId, stateOf, timeOf } from "./dom.js";

const STEP = 100;
const NEW_S = 10; // the row of an alert that is younger than this glows when it appears
const POINTER_REST_MS = 700;

const rows = new Map();
const drawn = new Map(); // identifier -> {row, element}
let shown = STEP;
let pointerMoved = -Infinity;

export const filters = { text: "", disease: "all", state: "open", order: "urgent" };

export function clearAlerts() {
  rows.clear();
}

// Take changed rows in, and return the new ones among them.
export function mergeAlerts(changed) {
  const fresh = changed.filter((row) => !rows.has(row.identifier));
  for (const row of changed) rows.set(row.identifier, row);
  return fresh;
}

// Forget the alerts that the server has dropped.
export function dropAlerts(identifiers) {
  for (const identifier of identifiers) rows.delete(identifier);
}

export const alertOf = (identifier) => rows.get(identifier);

export function resetShown() {
  shown = STEP;
}

export function drawAlerts(list) {
  const matching = [...rows.values()].filter(matches).sort(filters.order === "newest" ? newest : urgent);
  const visible = matching.slice(0, shown);
  place(list, visible);
  const rest = matching.length - visible.length;
  byId("more").hidden = rest <= 0;
  byId("more").textContent = `Show ${Math.min(rest, STEP)} more of ${rest}`;
  byId("untrained").hidden = visible.every((row) => row.trained);
  byId("empty").hidden = matching.length > 0;
  byId("empty").textContent = rows.size === 0
    ? "No alerts yet. New alerts appear here automatically."
    : "No alerts match these filters.";
}

export function showMore() {
  shown += STEP;
}

// Rows must not jump away while a hand is about to click, so the list waits for a moment after the pointer moved.
export function watchPointer(list) {
  list.addEventListener("pointermove", () => {
    pointerMoved = performance.now();
  });
}
export const handIsMoving = () => performance.now() - pointerMoved < POINTER_REST_MS;

export function forgetDrawn() {
  drawn.clear();
}

function matches(row) {
  if (filters.state === "open" ? !stateOf(row).open : filters.state !== "all" && row.status !== filters.state) return false;
  if (filters.disease !== "all" && row.disease !== filters.disease) return false;
  return !filters.text || `${row.patient_id ?? ""} ${row.record_id}`.toLowerCase().includes(filters.text);
}

const newest = (a, b) => b.onset - a.onset || (a.identifier < b.identifier ? -1 : 1);

// The server gives each row its rank.
const urgent = (a, b) => a.rank - b.rank || newest(a, b);

// Rows that stay keep their elements, so they keep focus and selection as well.
function place(list, visible) {
  const wanted = new Set(visible.map((row) => row.identifier));
  for (const [identifier, { element }] of drawn) {
    if (!wanted.has(identifier)) {
      if (element.contains(document.activeElement)) neighbour(element)?.focus();
      element.remove();
      drawn.delete(identifier);
    }
  }
  let next = list.firstElementChild;
  for (const row of visible) {
    const element = elementOf(row);
    if (element === next) next = next.nextElementSibling;
    else list.insertBefore(element, next);
  }
}

const neighbour = (element) => (element.nextElementSibling ?? element.previousElementSibling)?.querySelector("a.row");

function elementOf(row) {
  const known = drawn.get(row.identifier);
  if (known?.row === row) return known.element;
  const element = known?.element ?? h(isNew(row) ? "li.new" : "li", {
    "data-alert": row.identifier,
    animationend: (event) => event.currentTarget.classList.remove("new"), // else the row would glow again when it is moved
  });
  const focused = element.contains(document.activeElement);
  element.replaceChildren(link(row));
  if (focused) element.firstElementChild.focus();
  drawn.set(row.identifier, { row, element });
  return element;
}

const isNew = (row) => !row.late && Date.now() / 1000 - row.onset < NEW_S;

function link(row) {
  const state = stateOf(row);
  return h("a.row.alert", {
    href: `./record?id=${encodeURIComponent(row.record_id)}`,
    "data-record": row.record_id,
    "data-priority": row.priority,
    "data-open": state.open,
  },
  h("span.priority", {}, h("span.sign", { "aria-hidden": "true" }, priorityOf(row).sign), priorityOf(row).words),
  h("span.what", {},
    h("span.disease", {}, diseaseName(row.disease)),
    h("span.who", {}, row.patient_id === null ? h("em", {}, "no patient id") : foreign(row.patient_id),
      h("span.record-id", {}, foreign(row.record_id)), lateness(row), doubts(row))),
  h("span.risk", {}, h("span.number", {}, percent(row.probability)), meter(row.probability, row.threshold, true),
    h("span.against", {}, `threshold ${percent(row.threshold)}`)),
  stateChip(row),
  timeOf(row.onset));
}

// A new alert may come from an ECG of last night.
function lateness(row) {
  if (!row.late) return null;
  if (row.recorded_at === null) return h("span.late", {}, "recording time unknown");
  if (row.doubtful) return h("span.late", {}, "recording time implausible");
  return h("span.late", {}, ["recorded ", timeOf(row.recorded_at, "time"), " ago"]);
}

// What a person must know before the row is believed.
export function doubts(row) {
  return [
    row.contradicts ? h("span.late", {}, `contradicts its record: ${row.contradicts}`) : null,
    row.clock_off_s === null ? null : h("span.late", {},
      `dated ${duration(Math.abs(row.clock_off_s))} ${row.clock_off_s > 0 ? "after" : "before"} its arrival, from which it counts`),
  ];
}

export function stateChip(row) {
  const state = stateOf(row);
  const said = row.acknowledgement;
  const by = said ? h("span.by", {}, " by ", foreign(said.acknowledged_by)) : null;
  return h("span.state", { "data-state": row.status, title: said?.comment || null },
    h("span.sign", { "aria-hidden": "true" }, state.sign), h("span", {}, state.words, by));
}

export function fillDiseases(select) {
  select.append(h("option", { value: "all" }, "All diseases"),
    ...Object.entries(DISEASES).map(([code, name]) => h("option", { value: code }, name)));
}

// What a screen reader says about new alerts.
export function announce(fresh) {
  const open = fresh.filter((row) => stateOf(row).open);
  if (open.length === 0) return;
  const high = open.filter((row) => row.priority === "high").length;
  const [row] = open;
  byId("announcer").textContent = open.length === 1
    ? `New alert: ${diseaseName(row.disease)}, ${percent(row.probability)}, priority ${row.priority}, patient ${shownId(row.patient_id ?? "unknown")}${row.late ? `, ${lateness(row).textContent}` : ""}`
    : `${open.length} new alerts, ${high} of high priority`;
}
