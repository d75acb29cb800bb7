// The page of one record: alerts, ECG, risks, cine, measurements, what changed, quality, model. Of a rejected record: why.

import { askToAcknowledge } from "./acknowledge.js";
import { doubtChips, doubts, prioritySign, stateChip } from "./alerts.js";
import { makePlayer } from "./cine.js";
import {
  diseaseName, foreign, foreignText, getBytes, getJson, h, meter, percent, postJson, timeOf, Turns, when, byId,
} from "./dom.js";
import { drawEcg, readEcg } from "./ecg.js";
import { gather, unacknowledged } from "./ecg_rows.js";
import { fillHistory, laterEcg } from "./history.js";
import { bullseye, measurementGroup } from "./measurements.js";
import { listPath } from "./places.js";
import { evidence } from "./records.js";
import { askToShelve } from "./shelve.js";

const PAPER = "cardiacnets.paper";
const REFRESH_MS = 300;
const RESIZE_MS = 150;

let shown = null; // {id, page, parts, player, ecg, earlier}: earlier is an ECG that is drawn below that of the page
let refreshDue = 0;
let resizeDue = 0;
const turns = new Turns();

export async function openRecord(container, id) {
  if (shown?.id === id) return;
  closeRecord();
  const parts = frame();
  container.replaceChildren(...Object.values(parts));
  shown = { id, parts, page: null, player: null, ecg: null, earlier: null, cineOf: null };
  await Promise.all([refresh(id), showEcg(id)]);
}

export function closeRecord() {
  shown?.player?.stop();
  shown = null;
}

// The page of the record is drawn again after a message about the record.
export function recordChanged(ids) {
  if (!shown || refreshDue || !ids.includes(shown.id)) return;
  refreshDue = setTimeout(() => {
    refreshDue = 0;
    if (shown) refresh(shown.id);
  }, REFRESH_MS);
}

// The ECG that a key acts on: the one in focus, else the first that has something to acknowledge.
export function currentEcg(key) {
  const ecgs = gather(shown?.page?.alerts ?? []);
  return ecgs.find((ecg) => ecg.key === key) ?? ecgs.find((ecg) => unacknowledged(ecg).length);
}

function frame() {
  return {
    head: h("div.record-head"),
    rejection: h("section.panel.rejected", { hidden: true }),
    alerts: h("div.record-alerts"),
    ecg: h("section.panel.ecg", { "aria-labelledby": "ecg-title" }),
    classic: h("section.panel.classic", { "aria-label": "Rate, intervals and axes", hidden: true }),
    pair: h("div.pair", {}, h("section.panel.risks"), h("section.panel.picture")),
    history: h("section.panel.other-ecgs", { hidden: true }),
    measurements: h("section.panel.all-measurements"),
    last: h("div.pair.even", {}, h("section.panel.quality"), h("section.panel.model")),
  };
}

async function refresh(id) {
  const turn = turns.take();
  const isStale = () => shown?.id !== id || turns.isLate(turn);
  let page;
  try {
    page = await getJson(`api/record?id=${encodeURIComponent(id)}`);
  } catch (error) {
    if (!isStale()) fillHead(shown.parts.head, id, shown.page, error.message);
    return;
  }
  if (isStale()) return;
  turns.settle(turn);
  shown.page = page;
  const { parts } = shown;
  fillHead(parts.head, id, page, page.report || page.rejection ? null : "The report of this record is no longer kept.");
  fillRejection(parts.rejection, page.rejection);
  drawAlerts(parts.alerts, page.alerts);
  if (page.report) {
    fillRisks(parts.pair.children[0], page);
    fillClassic(parts.classic, page.meaning.ecg);
    drawHistory(parts.history, page.history);
    fillMeasurements(parts.measurements, page, shown.ecg?.sex);
    fillQuality(parts.last.children[0], page.report);
    fillModel(parts.last.children[1], page.report);
  }
  byId("untrained").hidden = !page.report || page.report.model.trained;
  if (!page.rejection) await showCine(id);
}

function fillHead(head, id, page, trouble) {
  const report = page?.report;
  const patient = report ? report.patient_id : page?.alerts[0]?.patient_id;
  head.replaceChildren(
    h("a.back", { href: listPath() }, "← List"),
    h("div.title", {},
      h("h1", {}, patient ? foreign(patient) : titleOf(page)),
      h("p.quiet", {}, "record ", foreign(id),
        report?.recorded_at ? `, recorded ${when(Date.parse(report.recorded_at) / 1000)}` : "",
        report ? `, screened ${when(Date.parse(report.created_at) / 1000)}` : "")),
    report ? h("a.button", { href: `./api/fhir?id=${encodeURIComponent(id)}`, download: true }, "FHIR report") : "",
    laterEcg(page?.history),
    trouble ? h("p.error", { role: "alert" }, trouble) : "",
    page?.others ? h("p.error", { role: "alert" }, otherReports(page.others)) : "");
}

function titleOf(page) {
  if (!page) return "Record";
  return page.rejection ? "ECG that could not be screened" : "Patient without an id";
}

function fillRejection(panel, rejection) {
  panel.hidden = rejection === null;
  if (rejection === null) return;
  const { code, detail, device_id: device, site, created_at: at } = rejection;
  panel.replaceChildren(
    h("h2", {}, "Why it could not be screened"),
    h("p", {}, foreignText(detail), " ", h("code", {}, code)),
    h("p.quiet", {}, device === null ? "unknown device" : ["device ", foreign(device)], site === null ? "" : [", ", foreign(site)],
      `, rejected ${when(Date.parse(at) / 1000)}. `, foreign(evidence(rejection))),
    h("p", {}, "Nothing is said of this patient: no risk was looked at. Record the ECG again."));
}

// Two ECGs came under one id. The page shows the first one, and says what is known of the other.
function otherReports({ number, contradicts, patient_id: patient, recorded_at: at, flagged }) {
  const found = flagged.map((risk) => `${diseaseName(risk.disease)} ${percent(risk.probability)}`).join(", ");
  return [
    `${number === 1 ? "Another report" : `${number} other reports`} came under this record's id and cannot be of this ECG. `
    + `The newest names ${contradicts}: patient `,
    patient === null ? h("em", {}, "without an id") : foreign(patient),
    at === null ? ", recording time unknown" : `, recorded ${when(Date.parse(at) / 1000)}`,
    found ? `, flagged: ${found}.` : ", nothing flagged.",
    " A device gives two ECGs one id.",
  ];
}

function drawAlerts(part, alerts) {
  const focused = part.contains(document.activeElement);
  part.replaceChildren(...gather(alerts).map(ecgCard));
  if (focused) (part.querySelector("button") ?? byId("main")).focus({ preventScroll: true });
}

// The alerts of one ECG. One button acknowledges them all.
function ecgCard(ecg) {
  const { first } = ecg;
  const left = unacknowledged(ecg);
  return h("div.alert-card", { "data-ecg": ecg.key, "data-priority": first.priority },
    h("ul.alert-lines", {}, ecg.alerts.map((row) => h("li.alert-line", { "data-alert": row.identifier, "data-priority": row.priority },
      prioritySign(row), h("strong", {}, diseaseName(row.disease)), stateChip(row), timeOf(row.onset)))),
    h("div.alert-actions", {},
      left.length === 0 ? null : h("button.primary.change", { type: "button", click: () => askToAcknowledge(ecg) },
        left.length > 1 ? `Acknowledge ${left.length} alerts` : "Acknowledge"),
      first.patient_id === null ? null : h("button.plain.change", { type: "button", click: () => askToShelve(ecg) }, "Shelve…")),
    first.contradicts ? h("p.who", {}, "patient ", first.patient_id === null ? h("em", {}, "without an id") : foreign(first.patient_id)) : null,
    doubts(first),
    saidOf(ecg).map(acknowledgement));
}

// What people said of an ECG's alerts. What somebody said of several at once is said once.
function saidOf({ alerts }) {
  const all = alerts.flatMap((row) => [row.acknowledgement, ...row.further]).filter(Boolean);
  const once = new Map();
  for (const said of all) {
    const key = JSON.stringify([said.acknowledged_by, said.comment, said.authenticated, said.doubt]);
    if (!once.has(key)) once.set(key, said);
  }
  return [...once.values()];
}

const DOUBTS = {
  other_record: "it names another record, so it closes nothing",
  before_alert: "it is dated before the alert, so it closes nothing",
  doubtful_time: "its time and the time of its arrival are far apart",
};

// What somebody wrote about an alert. Only a proxy vouches for a name.
function acknowledgement({ acknowledged_by: by, acknowledged_at: at, comment, authenticated, doubt }) {
  return h("div.comment", { "data-doubt": doubt ?? "none" },
    h("p.quiet", {}, h("strong", {}, foreign(by)), authenticated ? " (signed in)" : " (name not checked)", `, ${when(at)}`,
      doubt ? h("span.doubt", {}, ` ⚠ ${DOUBTS[doubt] ?? "it is doubted"}`) : null),
    comment ? h("p", {}, foreignText(comment)) : null);
}

// --- ECG

async function showEcg(id) {
  const { ecg: panel } = shown.parts;
  const title = h("h2", { id: "ecg-title" }, "ECG");
  panel.replaceChildren(title, h("p.quiet", {}, "Loading…"));
  try {
    const ecg = readEcg(await getBytes(`api/ecg?id=${encodeURIComponent(id)}`));
    if (shown?.id !== id) return;
    shown.ecg = ecg;
    if (shown.page?.report) fillMeasurements(shown.parts.measurements, shown.page, ecg.sex);
  } catch (error) {
    if (shown?.id === id) panel.replaceChildren(title, h("p.nothing", {}, `${sentence(error.message)}`));
    return;
  }
  drawPanel();
}

const paperOf = (ecg, words) => h("div.paper", {},
  h("canvas", { role: "img", "aria-label": `${words}, ${ecg.seconds.toFixed(0)} seconds, at 25 mm a second and 10 mm a millivolt` }));

function drawPanel() {
  const { ecg, earlier, parts: { ecg: panel } } = shown;
  panel.replaceChildren(
    h("div.panel-head", {}, h("h2", { id: "ecg-title" }, "ECG"),
      h("p.quiet", {}, `${person(ecg)}${ecg.seconds.toFixed(1)} s at ${ecg.rate} Hz, unfiltered, each lead centred. A small square is 40 ms wide and 0.1 mV high.`),
      h("button.plain.paper-colour", { type: "button", click: turnPaper })),
    paperOf(ecg, "12-lead ECG"),
    earlier === null ? "" : h("div.earlier", {},
      h("h3", {}, `Earlier ECG of this patient, ${when(earlier.at)}`), paperOf(earlier.ecg, "Earlier 12-lead ECG")));
  drawPaper();
}

// Drawn again only if it changed, so that a button in it keeps the focus.
function drawHistory(panel, history) {
  const told = JSON.stringify(history);
  if (shown.told === told) return;
  shown.told = told;
  fillHistory(panel, history, showEarlier);
}

// Draw an earlier ECG below that of the page.
async function showEarlier({ record_id: id, at }) {
  const here = shown;
  try {
    if (!here.ecg) throw new Error("the ECG of this page is not there to stand above it");
    const ecg = readEcg(await getBytes(`api/ecg?id=${encodeURIComponent(id)}`));
    if (shown !== here) return;
    here.earlier = { at, ecg };
    drawPanel();
    here.parts.ecg.querySelector(".earlier").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (shown === here) byId("announcer").textContent = here.parts.history.querySelector(".trouble").textContent = sentence(error.message);
  }
}

function person({ sex, age }) {
  const words = [sex === "female" ? "woman" : sex === "male" ? "man" : null, age === null ? null : `${Math.round(age)} years`];
  const known = words.filter(Boolean).join(", ");
  return known ? `${known[0].toUpperCase()}${known.slice(1)}. ` : "";
}

const paperName = () => (localStorage.getItem(PAPER) === "light" ? "light" : "dark");

function turnPaper() {
  localStorage.setItem(PAPER, paperName() === "light" ? "dark" : "light");
  drawPaper();
}

function drawPaper() {
  if (!shown?.ecg) return;
  const ecgs = [shown.ecg, shown.earlier?.ecg];
  shown.parts.ecg.querySelectorAll("canvas").forEach((canvas, place) => drawEcg(canvas, ecgs[place], paperName()));
  shown.parts.ecg.querySelector(".paper-colour").textContent = paperName() === "light" ? "Dark paper" : "Light paper";
}

addEventListener("resize", () => {
  clearTimeout(resizeDue);
  resizeDue = setTimeout(drawPaper, RESIZE_MS);
});

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

// --- risks

function fillRisks(panel, { report, meaning }) {
  panel.replaceChildren(h("h2", {}, "Risks"), doubtChips(meaning.doubts, meaning.doubts.length) ?? "",
    h("ul.risk-list", {}, meaning.risks.map((risk) => risk.assessable ? assessedRisk(risk) : excludedRisk(risk))),
    subtypes(report),
    report.model.trained && !meaning.not_assessable ? h("p.basis.quiet", {}, `“Of 100” means patients like those that the weights learned from (${report.model.weights}).`) : "");
}

const assessedRisk = (risk) => h("li", { "data-flagged": risk.flagged },
  h("div.risk-line", {}, h("strong", {}, diseaseName(risk.disease)),
    h("span.number", {}, percent(risk.probability))),
  meter(risk.probability, risk.threshold, risk.flagged),
  h("p.risk-words", {},
    h("span.flag", {}, risk.flagged ? "▲ Flagged" : "Not flagged"),
    ` (threshold ${percent(risk.threshold)}). `, risk.sentence));

// Without number and bar: somebody would read them as the patient's.
const excludedRisk = (risk) => h("li", { "data-excluded": true },
  h("div.risk-line", {}, h("strong", {}, diseaseName(risk.disease)), h("span.number", { "aria-hidden": "true" }, "–")),
  h("p.risk-words", {}, risk.sentence));

function subtypes(report) {
  if (!report.cardiomyopathy_subtype) return "";
  const shares = Object.entries(report.cardiomyopathy_subtype).sort((a, b) => b[1] - a[1]);
  return h("p.subtypes", {}, "Kind of cardiomyopathy, if there is one: ",
    shares.map(([name, share]) => `${name} ${percent(share)}`).join(", "), ".");
}

// --- cine

// The cine is fetched again only after a new message about it. Drawing the record again must not remove what a person
// requested here.
async function showCine(id) {
  const panel = shown.parts.pair.children[1];
  const { result, requested } = shown.page;
  const version = result ? `${result.created_at} ${result.status}` : `requested: ${requested}`;
  if (shown.cineOf === version) return;
  shown.cineOf = version;
  const isStale = () => shown?.id !== id || shown.cineOf !== version;
  const title = h("h2", {}, "Cine");
  try {
    const player = makePlayer(await getBytes(`api/cine?id=${encodeURIComponent(id)}`));
    if (isStale()) {
      player.stop();
      return;
    }
    shown.player?.stop();
    shown.player = player;
    panel.replaceChildren(title, player.element);
  } catch (error) {
    if (isStale()) return;
    shown.player?.stop();
    const passes = error.status !== 404 && error.status !== 422; // Redis or the network may be back at the next try
    if (passes) shown.cineOf = null;
    panel.replaceChildren(title, h("p.nothing", {}, why(error, result, requested)),
      requested && !passes ? regenerate(id, result) : "", h("p.quiet", {}, "A cine is synthetic: drawn from an ECG, not a measurement."));
  }
}

function why(error, result, requested) {
  if (error.status !== 404) return sentence(error.message);
  if (result?.status === "failed") return `The cine could not be drawn: ${result.detail ?? result.code}.`;
  if (result) return "The cine has expired.";
  return requested ? "The cine is being drawn." : "No cine was requested: nothing was flagged, or the request is no longer kept.";
}

function regenerate(id, result) {
  const button = h("button.change", { type: "button", async click() {
    button.disabled = true;
    try {
      await postJson("api/regenerate", { record_id: id });
      button.textContent = "Requested. The cine appears here automatically.";
    } catch (error) {
      button.disabled = false;
      button.after(h("p.error", { role: "alert" }, error.message));
    }
  } }, result ? "Regenerate" : "Request again");
  return button;
}

// --- measurements, quality, model

// What an electrocardiograph prints. A report from before these measurements has none.
function fillClassic(panel, lines) {
  panel.hidden = lines.length === 0;
  panel.replaceChildren(h("dl.readings", {}, lines.map((line) => h("div", { "data-reading": line.name },
    h("dt", {}, line.label),
    line.value === null
      ? h("dd.absent", {}, "not measurable", h("span.why", {}, line.why))
      : h("dd", {}, h("strong", {}, line.value.toFixed(0)), line.unit === "°" ? "°" : ` ${line.unit}`)))));
}

function fillMeasurements(panel, { meaning, report }, sex) {
  if (meaning.not_assessable) {
    panel.replaceChildren(h("h2", {}, "Estimated measurements"), h("p", {}, meaning.not_assessable));
    return;
  }
  panel.replaceChildren(
    h("div.panel-head", {}, h("h2", {}, `Estimated measurements (${report.phenotypes.length})`),
      h("p.quiet", {}, report.model.trained
        ? `${sex ? "" : "The record does not state the sex, so both ranges are shown. "}Below an estimate stands the interval that holds the scan’s value for 90 of 100 people. A dash means that no range is published. Point at a range to see its source.`
        : "The weights are untrained. These numbers are not measurements, so no ranges are shown.")),
    h("div.bullseyes", {}, meaning.bullseyes.map(bullseye)),
    h("div.groups", {}, meaning.groups.map((group) => measurementGroup(group, sex))));
}

const PACING = {
  seen: "Pacing spikes were seen.",
  not_seen: "No pacing spikes were seen; some recorders remove them.",
  not_assessable: "Below 500 Hz nobody can tell whether there are pacing spikes.",
};

function fillQuality(panel, { quality }) {
  panel.replaceChildren(h("h2", {}, "Signal quality"),
    quality.warnings.length === 0 ? h("p", {}, "✓ No warnings about the signal.")
      : h("ul.warnings", {}, quality.warnings.map((warning) => h("li", {},
        h("span.sign", { "aria-hidden": "true" }, "⚠ "), foreignText(warning.detail), h("code", {}, warning.code)))),
    h("p.quiet", {}, `${quality.duration_s.toFixed(1)} s at ${quality.sample_rate_hz} Hz`,
      quality.derived_leads.length ? `; computed from I and II: ${quality.derived_leads.join(", ")}` : "", `. ${PACING[quality.pacing] ?? ""}`));
}

function fillModel(panel, { model, notice, report_id: reportId }) {
  panel.replaceChildren(h("h2", {}, "Model"),
    h("dl.facts", {},
      h("dt", {}, "Name"), h("dd", {}, model.name),
      h("dt", {}, "Version"), h("dd", {}, model.version),
      h("dt", {}, "Weights"), h("dd", {}, model.weights),
      h("dt", {}, "Report"), h("dd", {}, reportId)),
    h("p.notice", {}, notice));
}
