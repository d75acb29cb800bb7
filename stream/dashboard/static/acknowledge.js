// The dialogue that acknowledges an alert. The name is remembered on this machine, the comment is not.

import { byId, diseaseName, percent, postJson } from "./dom.js";

const NAME = "cardiacnets.name";
let current = null;

export function askToAcknowledge(row) {
  current = row;
  byId("acknowledge-what").textContent =
    `${diseaseName(row.disease)}, ${percent(row.probability)}: patient ${row.patient_id ?? "without id"}`;
  byId("acknowledge-error").textContent = "";
  byId("acknowledge-name").value = localStorage.getItem(NAME) ?? "";
  byId("acknowledge-comment").value = "";
  byId("acknowledge").showModal();
  byId(byId("acknowledge-name").value ? "acknowledge-comment" : "acknowledge-name").focus();
}

export function prepareAcknowledge() {
  byId("acknowledge-cancel").addEventListener("click", () => byId("acknowledge").close());
  byId("acknowledge").querySelector("form").addEventListener("submit", send);
  byId("acknowledge-comment").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("acknowledge-send").click();
  });
}

async function send(event) {
  event.preventDefault();
  const by = byId("acknowledge-name").value.trim();
  if (!by) {
    byId("acknowledge-error").textContent = "An acknowledgement needs a name.";
    return;
  }
  byId("acknowledge-send").disabled = true;
  try {
    await postJson("/api/acknowledge", { identifier: current.identifier, by, comment: byId("acknowledge-comment").value });
    localStorage.setItem(NAME, by);
    byId("acknowledge").close();
  } catch (error) {
    byId("acknowledge-error").textContent = `Not acknowledged: ${error.message}`;
  } finally {
    byId("acknowledge-send").disabled = false;
  }
}
