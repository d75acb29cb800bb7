// Who is signed in, and what they may do. The server decides; the page only shows it.

import { byId, foreign, getJson, postJson } from "./dom.js";

const NAME = "cardiacnets.name";
const NAME_MS = 15 * 60_000; // a name that was typed longer ago is probably somebody else's

// session: tells sessions apart; name: the one that a proxy vouches for, else null.
let current = { session: null, name: null, may_acknowledge: true, may_sign_out: false };

export const signedName = () => current.name;
export const mayAcknowledge = () => current.may_acknowledge;

export async function showSession() {
  try {
    current = await getJson("api/session");
  } catch {
    return; // asked again when the line is back
  }
  document.body.dataset.mayChange = current.may_acknowledge;
  byId("person").hidden = false;
  byId("person-name").replaceChildren(...(current.name === null ? [] : [foreign(current.name)]));
  byId("person-role").hidden = current.may_acknowledge;
  byId("sign-out").hidden = !current.may_sign_out;
}

export function prepareSignOut() {
  byId("sign-out").addEventListener("click", async () => {
    localStorage.removeItem(NAME);
    try {
      await postJson("sign-out", {});
    } finally {
      location.assign("./");
    }
  });
}

// The name that was typed last on this computer, if it was in this session and lately.
export function rememberedName() {
  const [session, name, at] = (localStorage.getItem(NAME) ?? "").split("\n");
  return session && session === current.session && Date.now() - Number(at) < NAME_MS ? name : "";
}

export function rememberName(name) {
  localStorage.setItem(NAME, [current.session, name, Date.now()].join("\n"));
}
