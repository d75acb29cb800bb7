// The alerts of one ECG as one row, and the order of the rows.

import { stateOf } from "./dom.js";

// An alert under a known record id that names another patient or another time is of another ECG.
const keyOf = (row) => JSON.stringify([row.record_id, row.patient_id, row.recorded_at]);

// Return the ECGs of these alerts. The most urgent alert of an ECG is its first one. `alone`: no other ECG has its record id.
export function gather(rows) {
  const alertsOf = new Map();
  const ecgsOf = new Map();
  for (const row of rows) {
    row.ecg ??= keyOf(row);
    if (alertsOf.has(row.ecg)) alertsOf.get(row.ecg).push(row);
    else {
      alertsOf.set(row.ecg, [row]);
      ecgsOf.set(row.record_id, (ecgsOf.get(row.record_id) ?? 0) + 1);
    }
  }
  return [...alertsOf].map(([key, alerts]) => asEcg(key, alerts, ecgsOf.get(alerts[0].record_id) === 1));
}

function asEcg(key, alerts, alone) {
  alerts.sort((a, b) => a.rank - b.rank || b.probability - a.probability || (a.identifier < b.identifier ? -1 : 1));
  const [first] = alerts;
  const open = alerts.filter((row) => stateOf(row).open);
  const escalated = open.filter((row) => row.status === "escalated");
  const waiting = escalated.length ? escalated : open.length ? open : alerts;
  return {
    key,
    alerts,
    alone,
    first,
    open: open.length > 0,
    escalated: escalated.length > 0,
    since: Math.min(...waiting.map((row) => row.onset)),
    doubts: alerts.find((row) => row.doubts.length)?.doubts ?? [],
  };
}

export const unacknowledged = (ecg) => ecg.alerts.filter((row) => row.status !== "acknowledged");

// Escalated ECGs stand on top, the one that has waited longest first. Then come the others by their ranks.
export function urgent(a, b) {
  if (a.escalated !== b.escalated) return a.escalated ? -1 : 1;
  if (a.escalated) return a.since - b.since || byKey(a, b);
  return a.first.rank - b.first.rank || newest(a, b);
}

export const newest = (a, b) => b.since - a.since || byKey(a, b);

const byKey = (a, b) => (a.key < b.key ? -1 : 1);

// Move the ECGs of a patient to the patient's first one; say of each which it is of how many.
export function besidePatients(sorted) {
  const ofPatient = new Map();
  for (const ecg of sorted) {
    const patient = ecg.first.patient_id ?? ecg;
    if (ofPatient.has(patient)) ofPatient.get(patient).push(ecg);
    else ofPatient.set(patient, [ecg]);
  }
  return [...ofPatient.values()].flatMap((ecgs) => ecgs.map((ecg, place) => ({ ecg, place, of: ecgs.length })));
}
