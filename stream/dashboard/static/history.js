// What changed since earlier ECGs of the patient: a table with a column for each ECG.

import { diseaseName, foreign, h, percent, when } from "./dom.js";
import { rounded, roundedWithin } from "./measurements.js";
import { recordPath } from "./places.js";

const KINDS = { risk: "Risks", ecg: "Measured in the ECG", estimate: "Estimated from the ECG" };

// `showEarlier` draws an earlier ECG below the one of the page.
export function fillHistory(panel, history, showEarlier) {
  panel.hidden = history === null;
  if (history === null) return;
  const { earlier, lines } = history;
  panel.replaceChildren(
    h("h2", { id: "history-title" }, "Earlier ECGs of this patient"),
    ...(earlier.length === 0 ? [h("p.quiet", {}, "No earlier one is kept.")] : explanation(history)),
    h("p.error.trouble"),
    earlier.length === 0 ? "" : h("div.scroll", { tabindex: "0", role: "region", "aria-labelledby": "history-title" },
      h("table.history", {}, heading(earlier, showEarlier), Object.keys(KINDS).map((kind) => part(kind, lines, earlier)))));
}

// Whoever looks at an old ECG is told.
export function laterEcg(history) {
  if (!history?.later) return "";
  const { later, latest } = history;
  return h("p.later", {}, h("span.sign", { "aria-hidden": "true" }, "⚠ "),
    later > 1 ? `There are ${later} later ECGs of this patient. The latest is ` : "There is a later ECG of this patient: ",
    h("a", { href: recordPath(latest) }, foreign(latest)), ".");
}

function explanation({ earlier, more_earlier: more }) {
  const other = earlier.filter((ecg) => ecg.is_other_model);
  return [
    h("p.quiet", {}, "“Changed” stands where the two intervals do not meet, or where two measurements differ by more than both can be wrong. ",
      "Any other difference may be chance. A probability has no interval.", more ? ` ${more} earlier ECGs are not shown.` : ""),
    other.length === 0 ? "" : h("p.caveat", {}, h("span.sign", { "aria-hidden": "true" }, "⚠ "),
      "* Another model gave these numbers: ", [...new Set(other.map((ecg) => ecg.model))].join(", "),
      ". A difference may be the model’s, so no estimate is said to have changed."),
  ];
}

function heading(earlier, showEarlier) {
  return h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col" }, "This ECG"),
    earlier.map((ecg) => h("th", { scope: "col" },
      h("a", { href: recordPath(ecg.record_id) }, when(ecg.at)), ecg.is_other_model ? " *" : "",
      h("button.plain", { type: "button", click: () => showEarlier(ecg) },
        "Draw", h("span.unseen", {}, " the"), " ECG", h("span.unseen", {}, ` of ${when(ecg.at)}`))))));
}

function part(kind, lines, earlier) {
  const own = lines.filter((line) => line.kind === kind);
  if (own.length === 0) return null;
  return h("tbody", {},
    h("tr", {}, h("th.part", { scope: "rowgroup", colspan: earlier.length + 2 }, KINDS[kind])),
    own.map((line) => h("tr", { "data-line": line.name },
      h("th", { scope: "row" }, kind === "risk" ? diseaseName(line.name) : line.label),
      cell(line, line.now), line.then.map((reading) => cell(line, reading)))));
}

function cell({ kind, unit }, reading) {
  if (reading === null) return h("td", {}, h("span.quiet", {}, "–"));
  const text = kind === "risk" ? `${reading.flagged ? "▲ " : ""}${percent(reading.value)}`
    : kind === "ecg" ? `${rounded(reading.value, 0)}${unit === "°" ? "" : " "}${unit}` : `${roundedWithin(reading.value, reading.half_width)} ${unit}`;
  return h("td", { "data-flagged": reading.flagged }, h("span.reading", {}, text), interval(kind, reading),
    reading.change ? h("strong.change-word", {}, kind === "risk" ? reading.change : `${reading.change} since`) : null);
}

function interval(kind, { value, half_width: half }) {
  if (kind !== "estimate" || half === null) return null;
  return h("span.interval", {}, `${roundedWithin(value - half, half)} to ${roundedWithin(value + half, half)}`);
}
