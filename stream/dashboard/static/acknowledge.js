// The dialogue that acknowledges an alert. The browser remembers the name, and does not remember the comment.

import { byId, diseaseName, percent, postJson, shownId } from "./dom.js";

const NAME = "cardiacnets.name";
let current = null;

export function askToAcknowledge(row) {
  current = row;
  setSending(false);
  byId("acknowledge-what").textContent =
    `${diseaseName(row.disease)}, ${percent(row.probability)}: patient ${shownId(row.patient_id ?? "without an id")}`;
  byId("acknowledge-error").textContent = "";
  byId("acknowledge-name").value = localStorage.getItem(NAME) ?? "";
  byId("acknowledge-comment").value = "";
  byId("acknowledge").showModal();
  byId(byId("acknowledge-name").value ? "acknowledge-comment" : "acknowledge-name").focus();
}

export function prepareAcknowledge() {
  byId("acknowledge-cancel").addEventListener("click", () => byId("acknowledge").close());
  byId("acknowledge").addEventListener("cancel", (event) => {
    if (byId("acknowledge-cancel").disabled) event.preventDefault();
  });
  byId("acknowledge").querySelector("form").addEventListener("submit", send);
  byId("acknowledge-comment").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("acknowledge-send").click();
  });
}

async function send(event) {
  event.preventDefault();
  const by = byId("acknowledge-name").value.trim();
  if (!by) {
    byId("acknowledge-error").textContent = "Enter your name to acknowledge the alert.";
    return;
  }
  const row = current;
  const isHere = () => current === row; // a second Escape closes the dialogue although the first one was prevented
  setSending(true);
  try {
    await postJson("/api/acknowledge", { identifier: row.identifier, by, comment: byId("acknowledge-comment").value });
    localStorage.setItem(NAME, by);
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
