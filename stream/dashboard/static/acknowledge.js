// The dialogue that acknowledges an alert. Where a proxy says who the person is, no name is asked for. Else the browser
// remembers the name for a while, within the session. It does not remember the comment.

import { byId, diseaseName, foreign, h, percent, postJson, shownId } from "./dom.js";
import { rememberedName, rememberName, signedName } from "./session.js";

let current = null;

export function askToAcknowledge(row) {
  current = row;
  setSending(false);
  byId("acknowledge-what").textContent =
    `${diseaseName(row.disease)}, ${percent(row.probability)}: patient ${shownId(row.patient_id ?? "without an id")}`;
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
  const row = current;
  const isHere = () => current === row; // a second Escape closes the dialogue although the first one was prevented
  setSending(true);
  try {
    await postJson("api/acknowledge", { identifier: row.identifier, by, comment: byId("acknowledge-comment").value });
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
