// Server-sent events. The browser reconnects after a broken line; where it gives up (an answer that is no stream), or does
// not notice (a line on which nothing comes), we go on. A page that may rest lets go of its line while nobody sees it, for a
// browser has six to a server, for all its tabs; what it misses it gets when it is seen again.

import { PATIENCE_MS } from "./dom.js";

const EVENTS = ["reset", "ready", "overview", "alerts", "records", "beat"];
const RETRY_MS = 2000;
const SILENCE_MS = 30_000; // the server sends a beat every 10 s

export function follow(handle, tellState, mayRest) {
  let source = null;
  let lastId = "";
  let due = 0; // when to connect again

  function connect() {
    source?.close();
    source = new EventSource(lastId ? `/api/events?last=${encodeURIComponent(lastId)}` : "/api/events");
    source.addEventListener("open", () => tellState("live"));
    source.addEventListener("error", lost);
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => {
        connectAfter(SILENCE_MS);
        if (event.lastEventId) lastId = event.lastEventId;
        handle(name, JSON.parse(event.data));
      });
    }
    connectAfter(SILENCE_MS);
  }

  function connectAfter(ms) {
    clearTimeout(due);
    due = setTimeout(() => {
      tellState("lost");
      connect();
    }, ms);
  }

  async function lost() {
    tellState("lost");
    const line = source;
    if (line.readyState !== EventSource.CLOSED) return;
    clearTimeout(due);
    const isAway = await turnedAway();
    if (source !== line) return;
    if (isAway) tellState("closed");
    else connectAfter(RETRY_MS);
  }

  function attend() {
    if (document.hidden && mayRest()) {
      clearTimeout(due);
      source?.close();
      source = null;
      tellState("paused");
    } else if (source === null) {
      tellState("connecting");
      connect();
    }
  }

  document.addEventListener("visibilitychange", attend);
  attend();
}

// Whether the token is no longer the right one: then only a person can go on.
async function turnedAway() {
  const options = { headers: { accept: "application/json" }, signal: AbortSignal.timeout(PATIENCE_MS) };
  try {
    return (await fetch("/api/records?limit=1", options)).status === 401;
  } catch {
    return false;
  }
}
