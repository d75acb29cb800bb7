// Server-sent events. The browser reconnects a broken connection by itself. This module reconnects where the browser gives
// up (an answer that is not a stream) or does not notice (a connection on which nothing arrives). A page that may rest closes
// its connection while nobody sees it, because all tabs of a browser share six connections to a server. The page gets the
// events that it missed when it is seen again.

import { PATIENCE_MS } from "./dom.js";

const EVENTS = ["reset", "ready", "overview", "dropped", "alerts", "records", "beat"];
const RETRY_MS = 2000;

export function follow(handle, tellState, mayRest) {
  let source = null;
  let lastId = "";
  let due = 0; // when to connect again
  let silenceMs = PATIENCE_MS; // until the server says how often it sends something

  function connect() {
    source?.close();
    source = new EventSource(lastId ? `api/events?last=${encodeURIComponent(lastId)}` : "api/events");
    source.addEventListener("open", () => tellState("live"));
    source.addEventListener("error", lost);
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => {
        const data = JSON.parse(event.data);
        if (name === "reset") silenceMs = 1000 * data.silence_s;
        connectAfter(silenceMs);
        if (event.lastEventId) lastId = event.lastEventId;
        handle(name, data);
      });
    }
    connectAfter(silenceMs);
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

// Whether the token is no longer valid. Then only a person can help.
async function turnedAway() {
  const options = { headers: { accept: "application/json" }, signal: AbortSignal.timeout(PATIENCE_MS) };
  try {
    return (await fetch("api/records?limit=1", options)).status === 401;
  } catch {
    return false;
  }
}
