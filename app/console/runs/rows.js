// One row of the list, which can be shown anew without losing its place or the focus.

import { attr, el, mark, put, replace } from "../dom.js";
import { CHANGES, cost, duration, modelName, STATES, STATUSES, UNKNOWN, when } from "../words.js";
import { LANES } from "./fold.js";
import { LANE_NAMES, LIST, SOURCES } from "./words.js";

const QUESTION_CHARS = 240;

/** The word for how a run ended, and what it is coloured by. */
export function outcomeOf(run) {
  const word = CHANGES[run.change]?.[0] ?? STATUSES[run.status]?.[0] ?? run.status ?? UNKNOWN;
  return { word, change: run.change ?? run.status ?? "" };
}

function laneFigure(lane) {
  if (!lane) return "–";
  if (lane.outcome === "completed") return duration(lane.latency_ms);
  return lane.outcome === null ? LIST.running : (STATES[lane.outcome] ?? lane.outcome);
}

const laneParts = (lane, name) => [
  el("span", { class: "runs-lane", dataset: { lane: name } }, LANE_NAMES[name]),
  el("span", { class: "figure" }, laneFigure(lane)),
  el("span", { class: "model" }, modelName(lane?.model) || "–"),
];

function outcomeParts(run) {
  const { word, change } = outcomeOf(run);
  const labels = run.labels ?? {};
  const chips = [run.source === "live" ? null : (SOURCES[run.source] ?? run.source), labels.experiment, labels.variant, labels.prompt_class, ...(labels.tags ?? [])];
  return [
    el("span", { class: "outcome", dataset: { change } }, word),
    chips.filter(Boolean).slice(0, 4).map((text) => el("span", { class: "chip" }, text)),
  ];
}

const part = (name, className) => el("td", { dataset: { part: name }, class: className });

/** A row: its node, and show(run, question); question is undefined while it is not read, null where it was not kept. */
export function createRow(run, go) {
  const href = `#/runs/${encodeURIComponent(run.run_id)}`;
  const link = el("a", { class: "run-link", href });
  const question = el("span", { class: "runs-question", dir: "auto" });
  const outcome = part("outcome");
  const lanes = LANES.map((name) => part(name, "lane-col"));
  const [latency, price] = [part("latency", "number"), part("cost", "number")];
  const node = el("tr", { dataset: { run: run.run_id } }, el("td", { class: "when" }, link), el("td", { dataset: { part: "question" } }, question), outcome, lanes, latency, price);
  node.addEventListener("click", (event) => {
    if (event.target.closest("a") || getSelection()?.toString()) return; // a link goes by itself; marked text is read
    go(href);
  });
  let seen = null;

  function show(next, asked) {
    const words = JSON.stringify([next, asked === undefined]);
    if (words === seen) return;
    seen = words;
    mark(node, "status", next.status ?? "");
    put(link, when(next.created_at));
    attr(link, "title", `${next.created_at} · ${next.run_id}`);
    put(question, asked === undefined ? LIST.questionPending : (asked ?? LIST.notKept).slice(0, QUESTION_CHARS));
    question.classList.toggle("soft", !asked);
    replace(outcome, outcomeParts(next));
    LANES.forEach((name, i) => replace(lanes[i], laneParts(next.lanes?.[name], name)));
    put(latency, typeof next.latency_ms === "number" ? duration(next.latency_ms) : "–");
    put(price, next.status === "running" ? "–" : cost(next.cost_usd));
  }
  return { node, link, show };
}
