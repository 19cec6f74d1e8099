// The latest runs as the record tells them.

import { byId, el, put, replace } from "../dom.js";
import { may } from "../session.js";
import * as say from "../words.js";
import { LANES } from "./run.js";
import { ASK } from "./words.js";

const SHOWN = 8;

/** The record does not have the run's end yet. */
export const isRunning = (run) => run.status === "running" || run.status === null;

const cell = (className, ...content) => el("td", className ? { class: className } : null, content);

function outcome(run) {
  const word = say.CHANGES[run.change]?.[0] ?? say.STATUSES[run.status]?.[0] ?? run.status ?? ASK.running;
  return el("span", { class: "outcome", dataset: { change: run.change ?? run.status ?? "" } }, word);
}

function laneCell(run, name) {
  const lane = run.lanes?.[name];
  if (!lane) return cell("lane-col", "–");
  const ended = lane.outcome === "completed" ? say.duration(lane.latency_ms) : (say.STATES[lane.outcome] ?? "–");
  return cell("lane-col", el("span", { class: "model" }, say.modelName(lane.model) || "–"), el("span", { class: "figure" }, ended));
}

function row(run) {
  const link = el("a", { href: `#/runs/${encodeURIComponent(run.run_id)}`, title: run.run_id }, say.when(run.created_at));
  return el(
    "tr",
    { dataset: { run: run.run_id } },
    cell("when", link),
    cell("", outcome(run)),
    LANES.map((name) => laneCell(run, name)),
    cell("number", isRunning(run) ? "–" : say.duration(run.latency_ms)),
    cell("number cost-col", isRunning(run) ? "–" : say.cost(run.cost_usd)),
  );
}

function show(runs, nothing) {
  byId("recent-table").hidden = runs.length === 0;
  byId("recent-empty").hidden = runs.length > 0;
  put(byId("recent-empty"), nothing);
  replace(byId("recent-rows"), runs.map(row));
}

let readings = 0;

/** Read the list again and return the runs; a record that cannot be read, or not now, is said so and disturbs nothing. */
export async function refreshRecent({ api, who }) {
  const reading = (readings += 1);
  if (!may(who, "read")) {
    show([], ASK.forbidden);
    return [];
  }
  const found = await api.getJSON("/api/experiments", { params: { limit: SHOWN } }).catch(() => null);
  if (reading !== readings) return []; // a later reading is newer
  show(found?.experiments ?? [], found === null ? ASK.unread : ASK.none);
  return found?.experiments ?? [];
}
