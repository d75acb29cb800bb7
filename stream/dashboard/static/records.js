// The lists of records and of rejections, the newest first. They are fetched while they are on screen.

import { doubtChips } from "./alerts.js";
import { diseaseName, diseaseShort, foreign, foreignText, getJson, h, meter, percent, timeOf, byId } from "./dom.js";
import { addressed, chosenSite, recordPath } from "./places.js";

const ROWS = 200;
const PATHS = { records: "api/records", rejected: "api/rejections" };
const CINES = { generated: "cine drawn", requested: "cine requested", failed: "cine failed" };

export const fetchRows = (name, { text, show }) =>
  getJson(addressed(PATHS[name], { limit: ROWS, q: text, show: name === "records" ? show : null }));

export function drawRecords(list, rows, { text, show }) {
  byId("untrained").hidden = rows.every((row) => row.trained);
  fill(list, rows.map(recordRow), text || show !== "all", "No records yet.", rows.length === ROWS);
}

export function drawRejections(list, rows, { text }) {
  fill(list, rows.map(rejectionRow), text, "No records were rejected.", rows.length === ROWS);
}

function fill(list, items, filtered, nothing, cut) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.record : null;
  list.replaceChildren(...items);
  if (focused) [...list.querySelectorAll("a.row")].find((row) => row.dataset.record === focused)?.focus();
  byId("more").hidden = true;
  byId("empty").hidden = items.length > 0 && !cut;
  byId("empty").textContent = cut ? `Only the newest ${ROWS} are shown. Search to find others.`
    : filtered || chosenSite() !== null ? "Nothing matches." : nothing;
}

function recordRow(row) {
  const notes = [
    row.cine ? CINES[row.cine] : null,
    row.contradicted ? "another report contradicts it" : null,
  ].filter(Boolean);
  return h("li", {},
    h("a.row.record", { href: recordPath(row.record_id), "data-record": row.record_id },
      h("span.what", {},
        h("span.patient", {}, row.patient_id === null ? h("em", {}, "no patient id") : foreign(row.patient_id)),
        h("span.who", {}, foreign(row.record_id), siteNote(row), notes.length ? h("span.record-id", {}, notes.join(", ")) : null),
        doubtChips(row.doubts)),
      h("span.five", {}, row.risks.map((risk) => risk[4] ? assessedRisk(risk) : excludedRisk(risk))),
      timeOf(row.created_at)));
}

const siteNote = (row) => (row.site === null || chosenSite() !== null ? null : h("span.site", {}, foreign(row.site)));

const assessedRisk = ([disease, probability, threshold, flagged]) =>
  h("span.small-risk", { title: `${diseaseName(disease)}: ${percent(probability)}, threshold ${percent(threshold)}`, "data-flagged": flagged },
    h("span.short", {}, diseaseShort(disease)), meter(probability, threshold, flagged),
    h("span.number", {}, flagged ? "▲ " : "", percent(probability)));

const excludedRisk = ([disease]) =>
  h("span.small-risk", { title: `${diseaseName(disease)}: not assessable`, "data-excluded": true },
    h("span.short", {}, diseaseShort(disease)), h("span.meter", { "aria-hidden": "true" }), h("span.number", {}, "n/a"));

export const evidence = ({ source, numbers }) =>
  [source, ...Object.entries(numbers).map(([name, value]) => `${name} ${value}`)].join(" · ");

// Of a record whose id could not be read there is no page.
function rejectionRow(row) {
  const attributes = row.record_id === null ? { tabindex: "-1" } : { href: recordPath(row.record_id), "data-record": row.record_id };
  return h("li", {},
    h(row.record_id === null ? "div.row.rejection" : "a.row.rejection", attributes,
      h("span.what", {},
        h("span.patient", {}, foreignText(row.detail)),
        h("span.who", {}, row.record_id === null ? h("em", {}, "unreadable id") : foreign(row.record_id), siteNote(row),
          h("span.record-id", {}, foreign(evidence(row))))),
      h("code", {}, row.code),
      timeOf(Date.parse(row.created_at) / 1000)));
}
