// Shelving: no further alert about one disease of one patient for a while. The dialogue, and the list of what is shelved.

import { byId, diseaseName, foreign, foreignText, getJson, h, postJson, shownId, when } from "./dom.js";
import { rememberedName, rememberName, signedName } from "./session.js";

let told = null; // how many are shelved, by the last header

export function askToShelve(ecg) {
  byId("shelve-what").textContent = `No further alert of patient ${shownId(ecg.first.patient_id)} until it ends. Reports go on.`;
  byId("shelve-disease").replaceChildren(...ecg.alerts.map((row) => h("option", { value: row.identifier }, diseaseName(row.disease))));
  byId("shelve-error").textContent = "";
  byId("shelve-reason").value = "";
  byId("shelve-who").hidden = signedName() !== null;
  byId("shelve-name").required = signedName() === null;
  byId("shelve-name").value = signedName() === null ? rememberedName() : "";
  byId("shelve-send").disabled = false;
  byId("shelve").showModal();
  byId("shelve-disease").focus();
}

export function prepareShelve() {
  byId("shelve-cancel").addEventListener("click", () => byId("shelve").close());
  byId("shelve").querySelector("form").addEventListener("submit", send);
}

async function send(event) {
  event.preventDefault();
  const by = signedName() === null ? byId("shelve-name").value.trim() : null;
  const reason = byId("shelve-reason").value.trim();
  if (by === "" || reason === "") {
    byId("shelve-error").textContent = "Enter your name and a reason.";
    return;
  }
  byId("shelve-send").disabled = true;
  try {
    const hours = Number(byId("shelve-hours").value);
    await postJson("api/shelve", { identifier: byId("shelve-disease").value, hours, reason, by });
    if (by !== null) rememberName(by);
    byId("shelve").close();
  } catch (error) {
    byId("shelve-error").textContent = `${error.status ? "Not shelved" : "Possibly not shelved"}: ${error.message}`;
    byId("shelve-send").disabled = false;
  }
}

// The list stands closed above the alerts, with its number.
export async function tellShelved(number) {
  if (told === number) return;
  told = number;
  byId("shelved").hidden = number === 0;
  byId("shelved-number").textContent = number === 1 ? "1 finding is shelved" : `${number} findings are shelved`;
  try {
    byId("shelved-rows").replaceChildren(...(await getJson("api/shelvings")).map(shelvedRow));
  } catch {
    told = null; // asked again with the next header
  }
}

function shelvedRow(row) {
  const { patient_id: patient, disease, until, reason, shelved_by: by, authenticated, shelved_at: at } = row;
  return h("li.comment", {},
    h("p", {}, h("strong", {}, diseaseName(disease)), " of patient ", foreign(patient), `, until ${when(until)}`,
      h("button.plain.change", { type: "button", click: (event) => end(event.target, row) }, "End")),
    h("p", {}, foreignText(reason)),
    h("p.quiet", {}, foreign(by), authenticated ? " (signed in)" : " (name not checked)", `, ${when(at)}`));
}

async function end(button, { patient_id: patient, disease, shelved_by: before }) {
  button.disabled = true;
  const by = signedName() === null ? rememberedName() || before : null;
  try {
    await postJson("api/unshelve", { patient_id: patient, disease, by });
  } catch (error) {
    button.after(h("span.error", { role: "alert" }, ` Not ended: ${error.message}`));
    button.disabled = false;
  }
}
