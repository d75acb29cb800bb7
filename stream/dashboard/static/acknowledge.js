// The dialogue that acknowledges the alerts of an ECG, all at once. Where a proxy says who the person is, no name is asked
// for. Else the browser remembers the name for a while, within the session. It does not remember the comment.

import { byId, diseaseName, foreign, h, percent, postJson, shownId } from "./dom.js";
import { unacknowledged } from "./ecg_rows.js";
import { rememberedName, rememberName, signedName } from "./session.js";

let current = null; // what is sent: [{identifier, whole_record}, …]

export function askToAcknowledge(ecg) {
  const left = unacknowledged(ecg);
  // Of two ECGs under one record id, a person has seen one: then each of its alerts is named.
  const named = ecg.alone ? left.slice(0, 1) : left;
  current = named.map(({ identifier }) => ({ identifier, whole_record: ecg.alone && left.length > 1 }));
  setSending(false);
  const found = left.map((row) => `${diseaseName(row.disease)}, ${percent(row.probability)}`).join("; ");
  byId("acknowledge-what").textContent = `${found}: patient ${shownId(ecg.first.patient_id ?? "without an id")}`;
  byId("acknowledge-title").textContent = left.length > 1 ? `Acknowledge ${left.length} alerts of one ECG` : "Acknowledge";
  byId("acknowledge-error").textContent = "";
  const name = signedName();
  byId("acknowledge-as").hidden = name === null;
  byId("acknowledge-as").replaceChildren("You sign as ", h("strong", {}, foreign(name ?? "")), ".");
  byId("acknowledge-who").hidden = name !== null;
  byId("acknowledge-name").required = name === null;
  byId("acknowledge-name").value = name === null ? rememberedName() : "";
  byId("acknowledge-comment").value = "";
  byId("acknowledge").showModal();
  byId(name !== null || byId("acknowledge-name").value ? "acknowledge-comment" : "acknowledge-name").focus();
}

export function prepareAcknowledge() {
  byId("acknowledge-cancel").addEventListener("click", () => byId("acknowledge").close());
  byId("acknowledge").addEventListener("cancel", (event) => {
    if (byId("acknowledge-cancel").disabled) event.preventDefault();
  });
  byId("acknowledge").addEventListener("close", () => {
    if (document.activeElement === document.body) byId("main").focus({ preventScroll: true }); // what had the focus is gone
  });
  byId("acknowledge").querySelector("form").addEventListener("submit", send);
  byId("acknowledge-comment").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("acknowledge-send").click();
  });
}

async function send(event) {
  event.preventDefault();
  const by = signedName() === null ? byId("acknowledge-name").value.trim() : null;
  if (by === "") {
    byId("acknowledge-error").textContent = "Enter your name to acknowledge the alert.";
    return;
  }
  const asked = current;
  const isHere = () => current === asked; // a second Escape closes the dialogue although the first one was prevented
  setSending(true);
  try {
    const said = { by, comment: byId("acknowledge-comment").value };
    for (const one of asked) await postJson("api/acknowledge", { ...one, ...said });
    if (by !== null) rememberName(by);
    if (isHere()) byId("acknowledge").close();
  } catch (error) {
    const outcome = error.status ? "Not acknowledged" : "Possibly not acknowledged"; // without an answer, nobody knows
    if (isHere()) byId("acknowledge-error").textContent = `${outcome}: ${error.message}`;
  } finally {
    if (isHere()) setSending(false);
  }
}

// An acknowledgement that was sent cannot be taken back.
function setSending(sending) {
  byId("acknowledge-send").disabled = byId("acknowledge-cancel").disabled = sending;
}
