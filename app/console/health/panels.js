// The parts of the page Health that are only read: each is given data and makes nodes.

import { el } from "../dom.js";
import { cost, count, duration, modelName, percent, STATES, when } from "../words.js";
import { age, balanceOf, bytes, checkRows, limitRows, partRows, toneOf } from "./shape.js";
import { GLANCE, LEDGER, LIMITS, PARTS, TITLES } from "./words.js";

/** A table that may be wider than its panel: it is scrolled there, by keyboard too. */
const scroll = (label, ...table) => el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label }, table);
const pair = (name, word, value) => (value === null || value === undefined ? null : el("div", { dataset: { value: name } }, el("dt", null, word), el("dd", null, value)));
const stateCell = (word) => [el("span", { class: "dot", "aria-hidden": "true" }), el("span", null, word)];

export function glance(health, metrics) {
  const now = metrics?.now;
  const ready = health.status === "ok";
  const running = el("a", { href: "#/runs?status=running" }, GLANCE.seeRunning);
  const runs = health.live_runs === undefined ? null : now ? GLANCE.of(count(health.live_runs), count(now.tandem_live_runs_limit)) : count(health.live_runs);
  const stuck = health.stuck_lanes;
  return el(
    "dl",
    { class: "health-tiles" },
    el("div", { dataset: { value: "status", tone: ready ? "good" : "bad" } }, el("dt", null, GLANCE.status), el("dd", { class: "health-state" }, stateCell(ready ? GLANCE.ready : GLANCE.notReady))),
    pair("runs", GLANCE.runs, runs === null ? null : health.live_runs > 0 ? [runs, " ", running] : runs),
    pair("streams", GLANCE.streams, health.open_streams === undefined ? null : count(health.open_streams)),
    stuck === undefined ? null : el("div", { dataset: { value: "stuck", tone: stuck > 0 ? "bad" : "none" } }, el("dt", null, GLANCE.stuck), el("dd", null, count(stuck))),
    now ? pair("queue", GLANCE.queue, count(now.tandem_queue_waiting)) : null,
    now ? pair("lag", GLANCE.lag, duration(1000 * (now.tandem_loop_lag_seconds?.p99 ?? Number.NaN))) : null,
    now ? pair("memory", GLANCE.memory, bytes(now.process_resident_memory_bytes)) : null,
    now ? pair("uptime", GLANCE.uptime, when(new Date(1000 * now.process_start_time_seconds).toISOString())) : null,
    pair("version", GLANCE.version, health.version),
  );
}

function lastCall(row) {
  if (row.lateP99Ms !== null) return PARTS.late(duration(row.lateP99Ms));
  return row.latencyMs === null ? "–" : duration(row.latencyMs);
}

function partLine(row, detailed) {
  const word = row.status === null ? PARTS.silent : (STATES[row.status] ?? row.status);
  const model = row.model ? el("span", { class: "model" }, modelName(row.model)) : null;
  const error = row.error === null ? PARTS.noError : [row.error.text, row.error.at ? el("span", { class: "soft" }, ` ${when(row.error.at)}`) : null];
  return el(
    "tr",
    { dataset: { part: row.name, tone: toneOf(row.status) }, class: row.depth > 0 ? "health-inner" : null },
    el("th", { scope: "row" }, PARTS.names[row.name] ?? row.name, model),
    el("td", { class: "health-state" }, stateCell(word)),
    detailed ? [el("td", { class: "number" }, lastCall(row)), el("td", { class: row.error ? "health-error" : "soft" }, error)] : null,
  );
}

export function parts(health) {
  const detailed = health.parts !== undefined;
  const rows = detailed ? partRows(health.parts) : checkRows(health.checks ?? {});
  const heads = PARTS.columns.slice(0, detailed ? 4 : 2).map((word, i) => el("th", { scope: "col", class: i === 2 ? "number" : null }, word));
  return scroll(TITLES.parts, el("table", { id: "part-rows" }, el("thead", null, el("tr", null, heads)), el("tbody", null, rows.map((row) => partLine(row, detailed)))));
}

/** What is used of something that ends. */
export const meter = (share, label) => el("meter", { min: 0, max: 1, high: 0.8, value: share, "aria-label": label });

function spool(audit, metrics, ledger) {
  const now = metrics?.now;
  const limit = audit?.spool_max_bytes ?? null;
  const size = audit?.spool_bytes ?? null;
  const words = size === null || limit === null ? null : GLANCE.of(bytes(size), bytes(limit));
  const chores = Object.entries(audit?.chores ?? {}).map(([name, state]) => el("span", { class: "chip", dataset: { tone: toneOf(state) } }, `${name.replaceAll("_", " ")}: ${state}`));
  return el(
    "dl",
    { class: "health-tiles" },
    pair("oldest", LEDGER.oldest, ledger.oldest_s > 0 ? age(ledger.oldest_s) : LEDGER.nothingOld),
    audit ? pair("sink", LEDGER.sink, `${audit.sink ?? "–"}: ${audit.status ?? "–"}`) : null,
    audit?.store ? pair("store", LEDGER.store, audit.store) : null,
    words === null ? null : pair("spool", LEDGER.spool, [words, " ", meter(size / limit, LEDGER.spool)]),
    audit?.memory_bytes === undefined ? null : pair("memory", LEDGER.memory, bytes(audit.memory_bytes)),
    now?.tandem_disk_free_bytes === undefined ? null : pair("disk", LEDGER.disk, bytes(now.tandem_disk_free_bytes)),
    chores.length > 0 ? el("div", { class: "wide" }, el("dt", null, LEDGER.chores), el("dd", null, chores)) : null,
  );
}

const figure = (name, word, value) => el("span", { class: "health-figure", dataset: { ledger: name } }, el("b", null, count(value)), ` ${word}`);

export function ledger(health, metrics) {
  const { record } = health;
  const { places, accepted, out } = balanceOf(record);
  const sum = places.flatMap(([name, n], i) => [el("span", { class: "health-sign", "aria-hidden": "true" }, i === 0 ? "=" : "+"), figure(name, LEDGER.places[name], n)]);
  const others = Object.entries(LEDGER.others).map(([name, word]) => figure(name, word, record[name] ?? 0));
  return el(
    "div",
    null,
    el("p", { class: "health-sum" }, figure("accepted", LEDGER.accepted, accepted), sum),
    el("p", { id: "ledger-balance", class: "health-state", dataset: { tone: out === 0 ? "good" : "bad" } }, stateCell(out === 0 ? LEDGER.balanced : LEDGER.unbalanced(out))),
    el("p", { class: "soft health-others" }, others),
    spool(health.audit, metrics, record),
  );
}

function limitLine(row) {
  const say = row.money ? cost : count;
  const used = GLANCE.of(say(row.used), say(row.most));
  const name = `${LIMITS.scopes[row.scope] ?? row.scope}, ${row.name}`;
  return el(
    "tr",
    { dataset: { limit: row.name, scope: row.scope } },
    el("td", null, LIMITS.scopes[row.scope] ?? row.scope),
    el("th", { scope: "row" }, row.name),
    el("td", null, meter(row.share, LIMITS.meter(name, say(row.used), say(row.most))), el("span", null, ` ${used} (${percent(row.share)})`)),
    el("td", { class: "number" }, say(row.left)),
  );
}

export function limits(data) {
  const rows = limitRows(data.limits);
  if (rows.length === 0) return el("p", { class: "soft" }, LIMITS.none);
  const heads = LIMITS.columns.map((word, i) => el("th", { scope: "col", class: i === 3 ? "number" : null }, word));
  return scroll(TITLES.limits, el("table", { id: "limit-rows" }, el("thead", null, el("tr", null, heads)), el("tbody", null, rows.map(limitLine))));
}
