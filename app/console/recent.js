// The latest runs as the record tells them.

import * as say from "./format.js";
import { LANES } from "./run.js";

const byId = (id) => document.getElementById(id);

function cell(className, ...content) {
  const td = document.createElement("td");
  if (className) td.className = className;
  td.append(...content);
  return td;
}

function span(className, text) {
  const node = document.createElement("span");
  node.className = className;
  node.textContent = text;
  return node;
}

function when(run) {
  const link = document.createElement("a");
  link.href = `/v1/runs/${encodeURIComponent(run.run_id)}`;
  const at = new Date(run.created_at);
  const known = !Number.isNaN(at.getTime());
  const today = known && at.toDateString() === new Date().toDateString();
  const time = known ? at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }) : "";
  link.textContent = known ? (today ? time : `${at.toLocaleDateString()} ${time}`) : run.run_id;
  link.title = run.run_id;
  return link;
}

function outcome(run) {
  const word = say.CHANGES[run.change]?.[0] ?? say.STATUSES[run.status]?.[0] ?? run.status ?? "Running";
  const node = span("outcome", word);
  node.dataset.change = run.change ?? run.status ?? "";
  return node;
}

function laneCell(run, name) {
  const lane = run.lanes?.[name];
  if (!lane) return cell("lane-col", "–");
  const ended = lane.outcome === "completed" ? say.duration(lane.latency_ms) : (say.STATES[lane.outcome] ?? "–");
  return cell("lane-col", span("model", say.modelName(lane.model) || "–"), span("figure", ended));
}

function row(run) {
  const tr = document.createElement("tr");
  tr.dataset.run = run.run_id;
  tr.append(
    cell("when", when(run)),
    cell("", outcome(run)),
    ...LANES.map((name) => laneCell(run, name)),
    cell("number", say.duration(run.latency_ms)),
    cell("number cost-col", say.cost(run.cost_usd)),
  );
  return tr;
}

function show(runs, nothing) {
  byId("recent-table").hidden = runs.length === 0;
  byId("recent-empty").hidden = runs.length > 0;
  byId("recent-empty").textContent = nothing;
  byId("recent-rows").replaceChildren(...runs.map(row));
}

/** Read the list again; a record that cannot be read now is said so and disturbs nothing. */
export async function refreshRecent() {
  try {
    const response = await fetch("/api/experiments?limit=10");
    if (!response.ok) throw new Error(String(response.status));
    const { experiments } = await response.json();
    show(experiments, "No runs yet. Each question you ask leaves one record here.");
  } catch {
    show([], "The record cannot be read now. Questions can still be asked.");
  }
}
