// Server-sent events. The browser reconnects after a broken line; where it gives up (an answer that is no stream), we go on.

const EVENTS = ["reset", "ready", "overview", "alerts", "records"];
const RETRY_MS = 2000;

export function follow(handle, tellState) {
  let source = null;
  let lastId = "";

  function connect() {
    source = new EventSource(lastId ? `/api/events?last=${encodeURIComponent(lastId)}` : "/api/events");
    source.addEventListener("open", () => tellState("live"));
    source.addEventListener("error", lost);
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => {
        if (event.lastEventId) lastId = event.lastEventId;
        handle(name, JSON.parse(event.data));
      });
    }
  }

  async function lost() {
    tellState("lost");
    if (source.readyState !== EventSource.CLOSED) return;
    source.close();
    if (await turnedAway()) tellState("closed");
    else setTimeout(connect, RETRY_MS);
  }

  connect();
}

// Whether the token is no longer the right one: then only a person can go on.
async function turnedAway() {
  try {
    return (await fetch("/api/records?limit=1", { headers: { accept: "application/json" } })).status === 401;
  } catch {
    return false;
  }
}
