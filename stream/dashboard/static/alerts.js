// The list of alerts, a row an ECG. The page holds the alerts that the server keeps, and draws the most urgent ECGs that
// match the filters.

import { DISEASES, byId, diseaseName, duration, foreign, h, meter, percent, priorityOf, shownId, stateOf, timeOf } from "./dom.js";
import { besidePatients, gather, newest, urgent } from "./ecg_rows.js";
import { chosenSite, isOfSite, recordPath, siteName } from "./places.js";

const STEP = 100;
const NEW_S = 10; // the row of an alert that is younger than this glows when it appears
const POINTER_REST_MS = 700;
const MOST_ALERTS = 8; // of one ECG in the list; there are five diseases, but anybody may write to a topic
const MOST_DOUBTS = 3;

const rows = new Map();
const drawn = new Map(); // key of an ECG -> {entry, element}
let shown = STEP;
let pointerMoved = -Infinity;

export const filters = { text: "", disease: "all", state: "open", order: "urgent", show: "all" };

export function clearAlerts() {
  rows.clear();
}

// Take changed rows in, and return those that are news: the new ones, and those that have escalated.
export function mergeAlerts(changed) {
  const news = changed.filter((row) => !rows.has(row.identifier)
    || (row.status === "escalated" && rows.get(row.identifier).status !== "escalated"));
  for (const row of changed) rows.set(row.identifier, row);
  return news;
}

// Forget the alerts that the server has dropped.
export function dropAlerts(identifiers) {
  for (const identifier of identifiers) rows.delete(identifier);
}

export const ecgOf = (key) => drawn.get(key)?.entry.ecg;

export const openOfSite = () => [...rows.values()].filter((row) => stateOf(row).open && isOfSite(row)).length;

export function resetShown() {
  shown = STEP;
}

export function drawAlerts(list) {
  const ecgs = gather(rows.values());
  const matching = besidePatients(ecgs.filter(matches).sort(filters.order === "newest" ? newest : urgent));
  const visible = matching.slice(0, shown);
  place(list, visible);
  const rest = matching.length - visible.length;
  byId("more").hidden = rest <= 0;
  byId("more").textContent = `Show ${Math.min(rest, STEP)} more of ${rest}`;
  byId("untrained").hidden = visible.every(({ ecg }) => ecg.first.trained);
  byId("empty").hidden = matching.length > 0;
  byId("empty").textContent = rows.size === 0
    ? "No alerts yet. New alerts appear here automatically."
    : "No alerts match these filters.";
  tellHidden(ecgs.filter((ecg) => ecg.open && !matches(ecg)));
}

export function showMore() {
  shown += STEP;
}

// Whoever filters is told what that hides of what is open.
function tellHidden(ecgs) {
  const elsewhere = ecgs.filter((ecg) => !isOfSite(ecg.first));
  const others = ecgs.filter((ecg) => isOfSite(ecg.first));
  const sentences = [
    elsewhere.length ? `At other sites: ${counted(elsewhere)}.` : "",
    others.length ? `Hidden by the other filters: ${counted(others)}.` : "",
  ].filter(Boolean);
  byId("hidden").hidden = sentences.length === 0;
  byId("hidden").classList.toggle("hot", ecgs.some((ecg) => ecg.escalated));
  const text = sentences.join(" ");
  if (byId("hidden-text").textContent !== text) byId("hidden-text").textContent = text;
}

function counted(ecgs) {
  const escalated = ecgs.filter((ecg) => ecg.escalated).length;
  const open = `${ecgs.length} ECG${ecgs.length === 1 ? "" : "s"} with open alerts`;
  return escalated ? `${open}, ${escalated} of them escalated` : open;
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

function matches(ecg) {
  if (!isOfSite(ecg.first) || !ecg.alerts.some(isWanted)) return false;
  return !filters.text || `${ecg.first.patient_id ?? ""} ${ecg.first.record_id}`.toLowerCase().includes(filters.text);
}

function isWanted(row) {
  if (filters.state === "open" ? !stateOf(row).open : filters.state !== "all" && row.status !== filters.state) return false;
  return filters.disease === "all" || row.disease === filters.disease;
}

// Rows that stay keep their elements, so they keep focus and selection as well.
function place(list, visible) {
  const wanted = new Set(visible.map(({ ecg }) => ecg.key));
  for (const [key, { element }] of drawn) {
    if (!wanted.has(key)) {
      if (element.contains(document.activeElement)) neighbour(element)?.focus();
      element.remove();
      drawn.delete(key);
    }
  }
  let next = list.firstElementChild;
  for (const entry of visible) {
    const element = elementOf(entry);
    if (element === next) next = next.nextElementSibling;
    else list.insertBefore(element, next);
  }
}

const neighbour = (element) => (element.nextElementSibling ?? element.previousElementSibling)?.querySelector("a.row");

function elementOf(entry) {
  const known = drawn.get(entry.ecg.key);
  if (known && isSame(known.entry, entry)) return known.element;
  const element = known?.element ?? h(isNew(entry.ecg) ? "li.new" : "li", {
    "data-ecg": entry.ecg.key,
    animationend: (event) => event.currentTarget.classList.remove("new"), // else the row would glow again when it is moved
  });
  const focused = element.contains(document.activeElement);
  element.replaceChildren(link(entry));
  if (focused) element.firstElementChild.focus();
  drawn.set(entry.ecg.key, { entry, element });
  return element;
}

const isSame = (one, other) => one.place === other.place && one.of === other.of && one.ecg.alerts.length === other.ecg.alerts.length
  && one.ecg.alerts.every((row, index) => row === other.ecg.alerts[index]);

const isNew = ({ first, since }) => !first.late && Date.now() / 1000 - since < NEW_S;

function link({ ecg, place: at, of }) {
  const { first } = ecg;
  return h("a.row.alert", {
    href: recordPath(first.record_id),
    "data-record": first.record_id,
    "data-priority": first.priority,
    "data-open": ecg.open,
    "data-further": at > 0,
  },
  prioritySign(first),
  h("span.what", {},
    h("span.patient", {}, first.patient_id === null ? h("em", {}, "no patient id") : foreign(first.patient_id),
      of > 1 ? h("span.of-patient", {}, at === 0 ? ` ${of} ECGs` : ` ECG ${at + 1} of ${of}`) : null),
    h("span.who", {}, h("span.record-id", {}, foreign(first.record_id)),
      first.site === null || chosenSite() !== null ? null : h("span.site", {}, foreign(first.site)),
      lateness(first), doubts(first)),
    doubtChips(ecg.doubts)),
  h("span.found", {}, ecg.alerts.slice(0, MOST_ALERTS).map(riskLine),
    ecg.alerts.length > MOST_ALERTS ? h("span.against", {}, `and ${ecg.alerts.length - MOST_ALERTS} more alerts`) : null),
  ecgState(ecg),
  timeOf(ecg.since));
}

export const prioritySign = (row) =>
  h("span.priority", {}, h("span.sign", { "aria-hidden": "true" }, priorityOf(row).sign), priorityOf(row).words);

const riskLine = (row) => h("span.risk", { "data-alert": row.identifier, "data-open": stateOf(row).open },
  h("span.disease", {}, diseaseName(row.disease)), h("span.number", {}, percent(row.probability)),
  meter(row.probability, row.threshold, true), h("span.against", {}, `threshold ${percent(row.threshold)}`));

// What the gate doubted, and what the model is not for.
export function doubtChips(found, most = MOST_DOUBTS) {
  if (found.length === 0) return null;
  const rest = found.length - most;
  return h("span.doubts", {}, found.slice(0, most).map(({ code, words }) =>
    h("span.doubt", { "data-doubt": code }, h("span.sign", { "aria-hidden": "true" }, "⚠ "), words)),
  rest > 0 ? h("span.doubt", {}, `and ${rest} more`) : null);
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

function ecgState(ecg) {
  const closed = ecg.alerts.filter((row) => row.status === "acknowledged").length;
  return h("span.states", {}, stateChip(ecg.first),
    closed > 0 && closed < ecg.alerts.length ? h("span.against", {}, `${closed} of ${ecg.alerts.length} acknowledged`) : null);
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

// The sites that the server has seen, and the chosen one.
export function fillSites(select, sites) {
  const site = chosenSite();
  const names = [...new Set(site ? [...sites, site] : sites)].sort();
  select.closest("label").hidden = names.length === 0 && site === null;
  select.replaceChildren(h("option", { value: "all" }, "All sites"), h("option", { value: "none" }, "Without a site"),
    ...names.map((name) => h("option", { value: `at:${name}` }, shownId(name))));
  select.value = site === null ? "all" : site === "" ? "none" : `at:${site}`;
}

export const siteOf = (value) => (value === "all" ? null : value === "none" ? "" : value.slice("at:".length));

// What a screen reader says about new alerts of the chosen site, and about escalated ones of any.
export function announce(news) {
  const ecgs = gather(news.filter((row) => stateOf(row).open && (isOfSite(row) || row.status === "escalated")));
  if (ecgs.length === 0) return;
  const high = ecgs.filter(({ first }) => first.priority === "high").length;
  byId("announcer").textContent = ecgs.length === 1 ? inWords(ecgs[0])
    : `New or escalated alerts of ${ecgs.length} ECGs, ${high} of high priority`;
}

function inWords({ alerts, first, escalated, doubts: doubted }) {
  const found = alerts.slice(0, MOST_ALERTS).map((row) => `${diseaseName(row.disease)}, ${percent(row.probability)}`);
  return [
    `${escalated ? "Escalated" : "New"} alert: ${found.join("; ")}`,
    `priority ${first.priority}`,
    `patient ${shownId(first.patient_id ?? "unknown")}`,
    first.late ? lateness(first).textContent : null,
    isOfSite(first) ? null : `not at ${shownId(siteName())}`,
    ...doubted.slice(0, MOST_DOUBTS).map(({ words }) => words),
  ].filter(Boolean).join(", ");
}
