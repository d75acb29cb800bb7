// The frame of the page: which view is shown, what is done with each event, and what each key does.

import { askToAcknowledge, prepareAcknowledge } from "./acknowledge.js";
import {
  announce, clearAlerts, drawAlerts, dropAlerts, ecgOf, fillDiseases, fillSites, filters, forgetDrawn, handIsMoving, mergeAlerts,
  openOfSite, resetShown, showMore, siteOf, watchPointer,
} from "./alerts.js";
import { HOME, age, byId, duration, h, shownId, timeOf, Turns } from "./dom.js";
import { unacknowledged } from "./ecg_rows.js";
import { chooseSite, chosenSite, listPath, siteName } from "./places.js";
import { closeRecord, currentEcg, openRecord, recordChanged } from "./record.js";
import { drawRecords, drawRejections, fetchRows } from "./records.js";
import { mayAcknowledge, prepareSignOut, showSession } from "./session.js";
import { prepareShelve, tellShelved } from "./shelve.js";
import { follow } from "./stream.js";

const AGES_MS = 1000;
const LIST_REFRESH_MS = 2000;
const HAND_MS = 3000; // how long an alert waits at most for a pointer that keeps moving
const LISTS = { alerts: "Alerts", records: "Records", rejected: "Rejected" };
const CONNECTIONS = { connecting: "connecting", live: "live", lost: "reconnecting…", paused: "paused", closed: "signed out" };
const TITLES = { lost: "disconnected", paused: "paused", closed: "signed out" };
const USUAL = [["disease", "all"], ["state", "open"], ["order", "urgent"], ["show", "all"]];
const AWAY = {
  lost: () => `No connection since ${clock(heard)}: this page may be out of date.`,
  closed: () => "You are signed out: the session is over, or the dashboard has another token. Reload this page to sign in.",
};

let list = "alerts";
let record = null; // id of the record that is shown
let ready = false; // whether the snapshot has come
let scheduled = false;
let scrolled = 0;
let counted = "";
let listDue = 0;
const turns = new Turns();
let openAlerts = 0;
let sites = []; // that the server has seen
let troubles = []; // in the last header from the server
let heard = Date.now(); // when the last event came from the server

// --- what arrives

function handle(name, data) {
  heard = Date.now();
  if (name === "reset") {
    ready = false;
    clearAlerts();
  } else if (name === "ready") {
    ready = true;
    if (record) recordChanged([record]);
    schedule();
  } else if (name === "alerts") {
    const news = mergeAlerts(data);
    if (ready) announce(news);
    tellTitle();
    if (record) recordChanged(data.map((row) => row.record_id));
    schedule();
  } else if (name === "dropped") {
    dropAlerts(data);
    tellTitle();
    schedule();
  } else if (name === "records" && record) {
    recordChanged(data);
  } else if (name === "overview") {
    showOverview(data);
  }
}

function showOverview({ state, behind, kafka, redis }) {
  const escalated = state.alerts.escalated ?? 0;
  openAlerts = (state.alerts.raised ?? 0) + escalated;
  const latency = state.recorded ?? state.seen;
  byId("figure-open").textContent = openAlerts;
  byId("figure-escalated").textContent = escalated;
  byId("figure-escalated").parentElement.classList.toggle("hot", escalated > 0);
  byId("figure-expired").textContent = state.alerts.expired;
  byId("figure-expired").closest("div").hidden = !state.alerts.expired;
  byId("figure-not-shown").textContent = state.not_shown.toLocaleString("en-GB");
  byId("figure-not-shown").closest("div").hidden = !state.not_shown;
  tellCount("count-open", openAlerts, "", "open");
  tellCount("count-escalated", escalated, "⇧ ", "escalated");
  byId("figure-rate").textContent = state.per_minute;
  byId("figure-last").replaceChildren(...(state.last_report ? ["last report ", timeOf(state.last_report, "time"), " ago"] : []));
  byId("figure-latency").textContent = latency ? seconds(latency.p50) : "–";
  byId("latency-label").textContent = state.recorded ? "recording to screen" : "report to screen";
  const bound = state.recorded ? ` ECGs recorded more than ${state.live_s / 60} minutes earlier are left out.` : "";
  byId("figure-latency").parentElement.title = latency ? `Median. 95 of 100 are within ${seconds(latency.p95)}.${bound}` : "Measured on live records";
  byId("figure-records").textContent = state.records.toLocaleString("en-GB");
  byId("figure-rejected").textContent = state.rejected.toLocaleString("en-GB");
  tellTitle();
  tellSites(state.sites);
  tellShelved(state.shelved);
  troubles = [
    kafka ? null : "Kafka does not answer: no new alerts arrive, and none can be acknowledged.",
    redis ? null : "Redis does not answer: ECGs and cines cannot be shown. Alerts still arrive.",
    behind > 500 ? `Catching up: ${behind.toLocaleString("en-GB")} messages are still to be read.` : null,
    state.not_shown ? `${state.not_shown.toLocaleString("en-GB")} open alerts are not shown: more came than the dashboard keeps. Acknowledge what is done, and restart the dashboard to see the others.` : null,
    state.overdue ? `${state.overdue.toLocaleString("en-GB")} alerts have escalated, expired or been acknowledged, and nobody tells other displays and pagers. Is a keeper of alerts running?` : null,
    state.contradictions ? `${state.contradictions.toLocaleString("en-GB")} reports or alerts contradict what is kept under their record's id, and are marked. A device may give two ECGs one id.` : null,
    state.clock_off_s === null ? null : `A message was dated ${span(state.clock_off_s)} it arrived, so it counts from its arrival. Is a worker's clock wrong?`,
    state.unanswered_since ? `ECGs arrive, but none has been answered since ${clock(1000 * state.unanswered_since)}. Is a worker running?` : null,
  ].filter(Boolean);
  tellTrouble();
  tellOperators(state.unreadable);
  const count = `${state.records} ${state.rejected}`;
  if (count !== counted && list !== "alerts") scheduleList();
  counted = count;
}

// What an operator has to look into, and nobody at a bed: it stands where one looks for it.
function tellOperators(unreadable) {
  byId("connection").title = unreadable
    ? `Messages that could not be read since the dashboard's start: ${unreadable.toLocaleString("en-GB")}. Its log says where they are, and /metrics of which topics.`
    : "";
}

const span = (off) => `${duration(Math.abs(off))} ${off > 0 ? "after" : "before"}`;

const seconds = (value) => (value < 10 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`);

const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

function tellCount(id, number, sign, words) {
  byId(id).hidden = number === 0;
  byId(id).replaceChildren(`${sign}${number}`, h("span.unseen", {}, ` ${words}`));
}

// Without a connection, the title names no number. Of a site it names that of the site.
function tellTitle() {
  const site = chosenSite();
  const mark = TITLES[byId("connection").dataset.state] ?? (site === null ? openAlerts : openOfSite());
  const name = site === null ? "CardiacNets" : `${shownId(siteName())} · CardiacNets`;
  document.title = mark ? `(${mark}) ${name}` : name;
}

function tellSites(seen) {
  if (seen.join("\n") === sites.join("\n")) return;
  sites = seen;
  fillSites(byId("filter-site"), sites);
}

function tellTrouble() {
  const away = AWAY[byId("connection").dataset.state];
  const text = away ? away() : troubles.join(" ");
  if (byId("trouble").textContent !== text) byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

function tellConnection(state) {
  byId("connection").dataset.state = state;
  byId("connection").textContent = CONNECTIONS[state];
  if (state === "live") showSession();
  tellTitle();
  tellTrouble();
}

// --- the list

function schedule() {
  if (scheduled || !ready || list !== "alerts") return;
  scheduled = true;
  const since = performance.now();
  requestAnimationFrame(function draw() {
    if (handIsMoving() && performance.now() - since < HAND_MS) {
      setTimeout(() => requestAnimationFrame(draw), 100);
      return;
    }
    scheduled = false;
    if (list === "alerts" && record === null) drawAlerts(byId("rows"));
  });
}

// Records and rejections are fetched only while they are on screen, and not too often.
function scheduleList() {
  if (listDue || record !== null) return;
  listDue = setTimeout(() => {
    listDue = 0;
    drawFetched();
  }, LIST_REFRESH_MS);
}

async function drawFetched() {
  if (record !== null || list === "alerts") return;
  const turn = turns.take();
  const chosen = { ...filters };
  const draw = list === "records" ? drawRecords : drawRejections;
  try {
    const rows = await fetchRows(list, chosen);
    if (turns.isLate(turn)) return;
    turns.settle(turn);
    draw(byId("rows"), rows, chosen);
  } catch (error) {
    if (turns.isLate(turn)) return;
    byId("empty").hidden = false;
    byId("empty").textContent = `The list cannot be fetched: ${error.message}`;
  }
}

function showList(name) {
  turns.settle();
  if (list !== name) {
    list = name;
    forgetDrawn();
    byId("rows").replaceChildren();
    byId("empty").hidden = byId("more").hidden = true;
  }
  byId("list-title").textContent = LISTS[name];
  for (const link of document.querySelectorAll("[data-list]")) {
    if (link.dataset.list === name && record === null) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const part of document.querySelectorAll("[data-for]")) part.hidden = part.dataset.for !== name;
  byId("hidden").hidden = true;
  if (name === "alerts") schedule();
  else drawFetched();
}

// --- which view

function route() {
  const query = new URLSearchParams(location.search);
  const wanted = location.pathname === `${HOME}record` ? query.get("id") : null;
  if (record === null && wanted !== null) scrolled = scrollY;
  const back = record !== null && wanted === null ? record : null;
  record = wanted;
  chooseSite(query.get("site"));
  addressLinks();
  byId("list-view").hidden = wanted !== null;
  byId("record-view").hidden = wanted === null;
  if (wanted === null) {
    closeRecord();
    readFilters(query);
    showList(LISTS[query.get("list")] ? query.get("list") : "alerts");
    requestAnimationFrame(() => requestAnimationFrame(() => {
      scrollTo(0, scrolled);
      if (back !== null) links().find((link) => link.dataset.record === back)?.focus({ preventScroll: true });
    }));
  } else {
    showList(list);
    openRecord(byId("record-view"), wanted);
    scrollTo(0, 0);
    byId("main").focus({ preventScroll: true });
  }
}

// The links that stand in the page go to the chosen site.
function addressLinks() {
  for (const link of document.querySelectorAll("[data-list]")) link.href = listPath(link.dataset.list);
  byId("home").href = listPath();
  byId("figure-expired").href = listPath("alerts", { state: "expired" });
  byId("figures-site").hidden = chosenSite() === null;
  fillSites(byId("filter-site"), sites);
  tellTitle();
}

function go(path) {
  const { pathname, search } = new URL(path, location.href);
  if (pathname + search !== location.pathname + location.search) history.pushState({ inside: true }, "", path);
  route();
}

function goBack() {
  if (history.state?.inside) history.back();
  else go(listPath());
}

function readFilters(query) {
  filters.text = (query.get("q") ?? "").toLowerCase();
  for (const [name, usual] of USUAL) filters[name] = query.get(name) ?? usual;
  if (byId("filter-text").value.toLowerCase().trim() !== filters.text) byId("filter-text").value = query.get("q") ?? "";
  for (const [name] of USUAL) byId(`filter-${name}`).value = filters[name];
}

// The address holds the filters, so a reload keeps them.
function filtersChanged() {
  const chosen = { q: byId("filter-text").value.trim() || null };
  for (const [name, usual] of USUAL) {
    const { value } = byId(`filter-${name}`);
    chosen[name] = value === usual ? null : value;
  }
  chooseSite(siteOf(byId("filter-site").value));
  history.replaceState(history.state, "", listPath(list, chosen));
  addressLinks();
  readFilters(new URLSearchParams(location.search));
  resetShown();
  if (list === "alerts") schedule();
  else drawFetched();
}

// --- keys

const links = () => [...byId("rows").querySelectorAll(".row")];

function move(step) {
  const all = links();
  const at = all.indexOf(document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + step));
  all[next]?.focus();
  all[next]?.scrollIntoView({ block: "nearest" });
}

function acknowledgeHere() {
  const item = document.activeElement.closest?.("[data-ecg]");
  const ecg = record !== null ? currentEcg(item?.dataset.ecg) : ecgOf(item?.dataset.ecg);
  if (ecg && unacknowledged(ecg).length && mayAcknowledge()) askToAcknowledge(ecg);
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("acknowledge").open || byId("shelve").open) return;
  const typing = event.target.matches("input, textarea, select");
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else if (record !== null) goBack();
  } else if (!typing) {
    const act = actions[event.key];
    if (act && (record === null || act.everywhere)) {
      event.preventDefault();
      act.run();
    }
  }
}

const actions = {
  j: { run: () => move(1) },
  k: { run: () => move(-1) },
  ArrowDown: { run: () => move(1) },
  ArrowUp: { run: () => move(-1) },
  "/": { run: () => byId("filter-text").focus() },
  a: { run: acknowledgeHere, everywhere: true },
};

function follows(event) {
  const link = event.target.closest("a[href^='./']");
  if (!link || link.hasAttribute("download") || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
}

fillDiseases(byId("filter-disease"));
prepareAcknowledge();
prepareShelve();
prepareSignOut();
watchPointer(byId("rows"));
byId("filters").addEventListener("input", filtersChanged);
byId("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  links()[0]?.focus();
});
byId("show-all").addEventListener("click", () => {
  chooseSite(null);
  go(listPath());
  byId("filter-text").focus();
});
byId("more").addEventListener("click", () => {
  showMore();
  schedule();
});
document.addEventListener("keydown", press);
document.addEventListener("click", follows);
addEventListener("popstate", route);
setInterval(() => {
  for (const element of document.querySelectorAll("time[data-since]")) {
    const text = age(Number(element.dataset.since));
    if (element.textContent !== text) element.textContent = text;
  }
}, AGES_MS);
history.scrollRestoration = "manual";
route();
follow(handle, tellConnection, () => record !== null); // a list never rests: its title shows the count to whoever works in another tab
