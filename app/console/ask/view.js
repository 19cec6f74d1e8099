// The page as a picture of the state. paint(state, now, whole) changes what differs: the texts, and all the rest when
// `whole` is asked for, since that costs more and changes seldom.

import { attr, byId, el, mark, put, replace } from "../dom.js";
import * as say from "../words.js";
import { createChanges } from "./changes.js";
import { createLane } from "./lane.js";
import { layout } from "./layout.js";
import { LANES, canAccept, canStop, isGuest, originOf } from "./run.js";
import { createTimeline } from "./timeline.js";
import { answerOf, problemWords, searchOf, sentenceOf, verdictOf } from "./verdict.js";
import { ASK, DONE } from "./words.js";

const RACE_MS = 350; // between two drawings of a race that runs

function paintVerdict(state, now) {
  const [kind, word] = verdictOf(state);
  mark(byId("verdict"), "change", kind);
  put(byId("verdict-word"), word);
  put(byId("verdict-text"), sentenceOf(state));
  put(byId("verdict-more"), searchOf(state, now, navigator.onLine));
  byId("anyway").hidden = state.hold !== "queued";
  byId("verdict").hidden = state.problem !== null;
}

function paintProblem({ problem, notice }) {
  byId("problem").hidden = problem === null;
  byId("notice").hidden = notice === null;
  if (notice) put(byId("notice"), `${notice.title}. ${problemWords(notice)} (${notice.code})`);
  if (!problem) return;
  put(byId("problem-title"), problem.title);
  put(byId("problem-detail"), problemWords(problem));
  put(byId("problem-code"), problem.status ? `${problem.status} ${problem.code}` : problem.code);
}

function paintDone(state) {
  const { done, runId } = state;
  byId("done").hidden = done === null;
  mark(byId("done"), "status", done?.status ?? "");
  if (!done) return;
  put(byId("done-status"), say.STATUSES[done.status]?.[0] ?? done.status);
  put(byId("done-reason"), done.reason && done.reason !== done.status ? done.reason : "");
  put(byId("done-latency"), say.duration(done.latency_ms) + (done.slow ? ` (${DONE.slow})` : ""));
  put(byId("done-tokens"), say.tokens(done.usage));
  put(byId("done-cost"), say.cost(done.cost_usd));
  put(byId("done-source"), say.SOURCES[originOf(state)]);
  put(byId("done-audit"), say.AUDIT[done.audit] ?? say.UNKNOWN);
  put(byId("done-run"), runId);
  attr(byId("done-run"), "href", `#/runs/${encodeURIComponent(runId)}`);
}

function paintActions(state) {
  const over = state.phase === "over";
  byId("copy").hidden = !over || answerOf(state).trim() === "";
  byId("link").hidden = state.runId === null;
  byId("again").hidden = !over || state.done?.status === "completed";
  byId("fresh").hidden = !over || state.problem !== null;
}

/** Fills root with the page; `options` is the node of the choices. Returns paint, which tells whether more is to be painted. */
export function createView(root, options) {
  const lanes = Object.fromEntries(LANES.map((name) => [name, createLane(name)]));
  const timeline = createTimeline();
  const changes = createChanges();
  const accept = el("div", { class: "accept", hidden: true }, el("button", { id: "accept", type: "button", class: "tinted", "aria-describedby": "accept-hint" }, ASK.accept), el("small", { id: "accept-hint", class: "soft" }, ASK.acceptHint));
  lanes.fast.node.append(accept);
  replace(root, layout({ options, lanes: LANES.map((name) => lanes[name].node), changes, race: timeline.node }));
  let drawn = -Infinity;
  let drawnOf = null;

  function paintRace(state, now) {
    if (canStop(state) ? now - drawn < RACE_MS : state === drawnOf) return;
    [drawn, drawnOf] = [now, state];
    timeline.paint(state, now);
  }

  /** Whether there is more to say. */
  function paintTexts(state) {
    for (const name of LANES) if (lanes[name].behind(state)) lanes[name].say(state);
    return LANES.some((name) => lanes[name].behind(state));
  }

  function paintRest(state, now) {
    mark(document.body, "phase", state.phase);
    const stoppable = canStop(state);
    byId("stop").hidden = !stoppable;
    put(byId("stop"), isGuest(state) ? ASK.leave : ASK.stop);
    byId("send").disabled = stoppable;
    byId("empty").hidden = state.phase !== "idle";
    byId("run").hidden = state.phase === "idle";
    if (state.phase === "idle") return;
    put(byId("asked"), state.question);
    byId("lanes").hidden = state.start === null && (state.problem !== null || state.hold !== null);
    for (const name of LANES) lanes[name].paint(state, now);
    accept.hidden = !canAccept(state);
    paintVerdict(state, now);
    paintProblem(state);
    changes.paint(state);
    paintRace(state, now);
    paintActions(state);
    paintDone(state);
  }

  return function paint(state, now, whole) {
    if (whole) paintRest(state, now);
    return paintTexts(state);
  };
}
