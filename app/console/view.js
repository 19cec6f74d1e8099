// The page as a picture of the state: paint(state, now) changes what differs, and appends text instead of writing it anew.

import * as say from "./format.js";
import { LANES, canAccept, canStop, elapsedMs, isGuest, originOf } from "./run.js";

const byId = (id) => document.getElementById(id);

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

/** A node that shows a growing text: one text node a frame, all anew only when the edition changes. */
function growing(node) {
  let shown = 0;
  let edition = 0;
  return (text, current = 0) => {
    if (current !== edition || text.length < shown) {
      node.replaceChildren();
      shown = 0;
      edition = current;
    }
    if (text.length === shown) return false;
    node.append(document.createTextNode(text.slice(shown)));
    shown = text.length;
    return true;
  };
}

function buildLane(name) {
  const article = byId("lane").content.firstElementChild.cloneNode(true);
  article.dataset.lane = name;
  const part = Object.fromEntries([...article.querySelectorAll("[data-part]")].map((n) => [n.dataset.part, n]));
  part.name.textContent = say.laneWord(name);
  part.answer.setAttribute("aria-label", `${say.laneWord(name)} answer`);
  part.thinking.addEventListener("toggle", () => {
    part["thinking-text"].scrollTop = part["thinking-text"].scrollHeight;
  });
  byId("lanes").append(article);
  return { article, part, answer: growing(part.answer), thinking: growing(part["thinking-text"]) };
}

/** What this lane's answer is worth: the final, a preliminary, or one that was replaced. */
function roleOf(state, name) {
  if (state.final?.lane === name) return ["final", state.final.verified ? "Final answer" : "Final answer, unverified"];
  if (name !== "fast" || state.preliminary === null) return ["", ""];
  if (state.final?.change === "revised") return ["replaced", "Preliminary, replaced"];
  return ["preliminary", "Preliminary"];
}

function noteOf(lane) {
  if (lane.end === null || lane.end.outcome === "completed") return "";
  const { reason, message } = lane.end;
  return [message ?? say.REASONS[reason] ?? "", reason ? `(${reason})` : ""].filter(Boolean).join(" ");
}

function placeholder(state, lane) {
  if (lane.text.trim() !== "" || lane.thinking !== "") return "";
  if (lane.end !== null || !canStop(state)) return "No text";
  return "Waiting for the first token";
}

function paintThinking(view, lane) {
  const { part } = view;
  part.thinking.hidden = lane.thinking === "";
  const working = lane.state === "thinking";
  mark(part.thinking, "working", String(working));
  put(part["thinking-word"], working ? "Thinking" : "Thoughts");
  put(part["thinking-size"], `${lane.thinking.length.toLocaleString("en")} characters`);
  const box = part["thinking-text"];
  const following = box.scrollTop + box.clientHeight >= box.scrollHeight - 4;
  if (view.thinking(lane.thinking) && following && part.thinking.open) box.scrollTop = box.scrollHeight;
}

function paintMeter(part, state, name, now) {
  const lane = state.lanes[name];
  const elapsed = elapsedMs(state, name, now);
  put(part["time-label"], lane.end ? "Latency" : "Elapsed");
  if (lane.end) put(part.time, say.duration(lane.end.latency_ms));
  else put(part.time, elapsed === null ? "–" : say.clock(elapsed));
  const none = lane.end && lane.firstTokenMs === null ? "none" : "–";
  put(part.first, lane.firstTokenMs === null ? none : say.duration(lane.firstTokenMs));
  put(part.tokens, lane.end ? say.outputTokens(lane.usage) : "–");
  put(part.cost, lane.end ? say.cost(lane.costUsd) : "–");
}

function paintLane(view, state, name, now) {
  const { article, part } = view;
  const lane = state.lanes[name];
  const over = !canStop(state);
  const shown = over && lane.end === null ? "stopped" : lane.state;
  mark(article, "state", shown);
  put(part.state, say.STATES[shown] ?? "Stopped");
  put(part.model, say.modelName(lane.model));
  part.model.title = lane.model ?? "";
  const [role, roleText] = roleOf(state, name);
  mark(article, "role", role);
  put(part.role, roleText);
  paintMeter(part, state, name, now);
  paintThinking(view, lane);
  view.answer(lane.text, lane.edition);
  part.answer.setAttribute("aria-busy", String(!over && lane.end === null));
  mark(part.answer, "placeholder", placeholder(state, lane));
  const note = noteOf(lane);
  part.note.hidden = note === "";
  put(part.note, note);
}

const UNCHECKED = new Map([
  ["accepted", "You took the fast answer before the slow model could check it."],
  ["cancelled", "The run was stopped before the slow model could check the fast answer."],
  ["shutdown", "The server was stopped before the slow model could check the fast answer."],
]);

function verdictOf(state) {
  const { final, done, phase } = state;
  if (done && !final) return [done.status, ...(say.STATUSES[done.status] ?? ["Over", "The run ended."])];
  if (final) {
    const [word, text] = say.CHANGES[final.change] ?? [final.change, ""];
    return [final.change, word, (final.change === "unverified" && UNCHECKED.get(done?.reason ?? done?.status)) || text];
  }
  if (state.stopped && isGuest(state)) return ["cancelled", "Left", "The run goes on for those who read it."];
  if (state.stopped) return ["cancelled", "Stopped", "You stopped before the server had begun."];
  if (phase === "over") return ["ended", "Over", "The run ended while you were away; its record tells how."];
  if (phase === "lost") return ["lost", "Connection lost.", `Coming back to the same run, attempt ${state.attempt}.`];
  if (phase === "asking") return ["asking", "Asking", ""];
  if (!state.preliminary) return ["live", "Working", "Both models are on it; the first answer will be preliminary."];
  return ["live", "Preliminary", "The fast answer is here. The slow model is still working on its own."];
}

function paintVerdict(state) {
  const [kind, word, text] = verdictOf(state);
  mark(byId("verdict"), "change", kind);
  put(byId("verdict-word"), word);
  put(byId("verdict-text"), text + (say.ORIGINS[originOf(state)] ?? ""));
  byId("verdict").hidden = state.problem !== null;
}

function paintProblem({ problem, notice }) {
  byId("problem").hidden = problem === null;
  byId("notice").hidden = notice === null;
  if (notice) put(byId("notice"), `${notice.title}. ${notice.detail} (${notice.code})`);
  if (!problem) return;
  const wait = problem.retryAfter ? ` Try again in ${problem.retryAfter} s.` : "";
  put(byId("problem-title"), problem.title);
  put(byId("problem-detail"), `${problem.detail}${wait}`);
  put(byId("problem-code"), problem.status ? `${problem.status} ${problem.code}` : problem.code);
}

function paintDone(state) {
  const { done, runId } = state;
  byId("done").hidden = done === null;
  if (!done) return;
  mark(byId("done"), "status", done.status);
  put(byId("done-status"), done.status);
  put(byId("done-reason"), done.reason && done.reason !== done.status ? done.reason : "");
  put(byId("done-latency"), say.duration(done.latency_ms) + (done.slow ? " (slow)" : ""));
  put(byId("done-tokens"), say.tokens(done.usage));
  put(byId("done-cost"), say.cost(done.cost_usd));
  put(byId("done-audit"), say.AUDIT[done.audit] ? `${say.AUDIT[done.audit]} (${done.audit})` : say.UNKNOWN);
  put(byId("done-run"), runId);
  byId("done-run").href = `/v1/runs/${encodeURIComponent(runId)}`;
}

/** The page's parts, and the one button that belongs to the preliminary: onAccept is called when it is pressed. */
export function createView(onAccept) {
  const lanes = Object.fromEntries(LANES.map((name) => [name, buildLane(name)]));
  const accept = Object.assign(document.createElement("button"), { id: "accept", type: "button", hidden: true });
  accept.append("Take this answer");
  accept.addEventListener("click", onAccept);
  lanes.fast.article.append(accept);

  return function paint(state, now) {
    mark(document.body, "phase", state.phase);
    const stoppable = canStop(state);
    byId("stop").hidden = !stoppable;
    byId("send").disabled = stoppable;
    byId("empty").hidden = state.phase !== "idle";
    byId("run").hidden = state.phase === "idle";
    if (state.phase === "idle") return;
    put(byId("asked"), state.question);
    byId("lanes").hidden = state.problem !== null && state.start === null;
    for (const name of LANES) paintLane(lanes[name], state, name, now);
    accept.hidden = !canAccept(state);
    paintVerdict(state);
    paintProblem(state);
    paintDone(state);
  };
}
