// One lane: whose answer, how far it is, what it has said. paint(state, now) changes what differs of all but the texts,
// say(state) adds what is new to those.
//
// [data-lane=fast|slow][data-state][data-role=preliminary|replaced|final]; inside it data-part = name, model, dot, state,
// role, time-label, time, first, tokens, cost, thinking, thinking-word, thinking-size, thinking-text, answer, note.

import { attr, el, mark, put } from "../dom.js";
import * as say from "../words.js";
import { createGrowing, createRoom, followEnd } from "./growing.js";
import { createAnswer } from "./markdown.js";
import { canStop, elapsedMs } from "./run.js";
import { LANE } from "./words.js";

const WORKING = new Set(["thinking", "answering"]);
const BEAT_MS = 200;

/** How visible the dot of a lane that works is: it breathes by steps, since an animation costs something in every frame. */
const breath = (now) => String(1 - 0.19 * Math.abs((Math.floor(now / BEAT_MS) % 8) - 4));

function build(name) {
  const part = {};
  const made = (key, tag, props, ...children) => (part[key] = el(tag, { ...props, dataset: { part: key } }, ...children));
  const figure = (label, key) => el("div", null, typeof label === "string" ? el("dt", null, label) : label, made(key, "dd"));
  const room = createRoom(made("answer", "div", { class: "answer", dir: "auto" }));
  const word = say.laneWord(name);
  const node = el(
    "article",
    { class: "lane", dataset: { lane: name }, "aria-label": LANE.answer(word) },
    el("header", null, el("h3", null, made("name", "span", null, word)), made("model", "span", { class: "model" }), el("span", { class: "state" }, made("dot", "span", { class: "dot", "aria-hidden": "true" }), made("state", "span"))),
    el("dl", { class: "meter" }, figure(made("time-label", "dt"), "time"), figure(LANE.first, "first"), figure(LANE.tokens, "tokens"), figure(LANE.cost, "cost")),
    made(
      "thinking",
      "details",
      { hidden: true },
      el("summary", null, made("thinking-word", "span"), " ", made("thinking-size", "span", { class: "size" })),
      made("thinking-text", "div", { class: "thinking-text", dir: "auto", tabindex: 0, role: "group", "aria-label": LANE.thoughts }),
    ),
    made("role", "p", { class: "role" }),
    room.node,
    made("note", "p", { class: "lane-note", hidden: true }),
  );
  return { node, part, room };
}

/** What this lane's answer is worth: the final, a preliminary, or one that was replaced. */
export function roleOf(state, name) {
  if (state.final?.lane === name) return ["final", state.final.verified ? LANE.final : LANE.unverified];
  if (name !== "fast" || state.preliminary === null) return ["", ""];
  if (state.final?.change === "revised") return ["replaced", LANE.replaced];
  return ["preliminary", LANE.preliminary];
}

/** Why a lane did not complete, or not what it had to say; of the slow one the stream does not tell that. */
export function noteOf({ preliminary, lanes }, name) {
  const { end } = lanes[name];
  if (end === null) return "";
  if (end.outcome === "completed") return name === "fast" && preliminary?.finish_reason === "length" ? say.CUT : "";
  const { reason, message } = end;
  return [message ?? say.REASONS[reason] ?? "", reason ? `(${reason})` : ""].filter(Boolean).join(" ");
}

function placeholder(state, lane) {
  if (lane.text.trim() !== "" || lane.thinking !== "") return "";
  return lane.end !== null || !canStop(state) ? LANE.noText : LANE.waiting;
}

export function createLane(name) {
  const { node, part, room } = build(name);
  const answer = createAnswer(part.answer);
  const thoughts = createGrowing(part["thinking-text"]);
  const toEnd = followEnd(part["thinking-text"]);
  part.thinking.addEventListener("toggle", toEnd);

  function paintThinking(lane) {
    part.thinking.hidden = lane.thinking === "";
    if (lane.thinking === "") return;
    mark(part.thinking, "working", String(lane.state === "thinking"));
    put(part["thinking-word"], lane.state === "thinking" ? LANE.thinking : LANE.thoughts);
    put(part["thinking-size"], LANE.size(lane.thinking.length));
  }

  function paintMeter(state, lane, now) {
    const elapsed = elapsedMs(state, name, now);
    put(part["time-label"], lane.end ? LANE.latency : LANE.elapsed);
    if (lane.end) put(part.time, say.duration(lane.end.latency_ms));
    else put(part.time, elapsed === null ? "–" : say.clock(elapsed));
    const none = lane.end && lane.firstTokenMs === null ? LANE.none : "–";
    put(part.first, lane.firstTokenMs === null ? none : say.duration(lane.firstTokenMs));
    put(part.tokens, lane.end ? say.outputTokens(lane.usage) : "–");
    put(part.cost, lane.end ? say.cost(lane.costUsd) : "–");
  }

  const isOver = (state) => !canStop(state) || state.lanes[name].end !== null;
  let told = null; // the lane as its texts are shown
  let closed = false;
  let more = false; // a long text goes on in the next frame

  return {
    node,
    part,
    paint(state, now) {
      const lane = state.lanes[name];
      const shown = !canStop(state) && lane.end === null ? "stopped" : lane.state;
      mark(node, "state", shown);
      put(part.state, say.STATES[shown] ?? LANE.stopped);
      part.dot.style.opacity = WORKING.has(shown) ? breath(now) : "";
      put(part.model, say.modelName(lane.model));
      attr(part.model, "title", lane.model ?? "");
      const [role, words] = roleOf(state, name);
      mark(node, "role", role);
      put(part.role, words);
      paintMeter(state, lane, now);
      paintThinking(lane);
      mark(part.answer, "placeholder", placeholder(state, lane));
      const note = noteOf(state, name);
      part.note.hidden = note === "";
      put(part.note, note);
    },
    /** Whether its texts have something that is not shown yet. */
    behind: (state) => more || state.lanes[name] !== told || isOver(state) !== closed,
    /** Add to its texts what is new. */
    say(state) {
      const lane = state.lanes[name];
      [told, closed] = [lane, isOver(state)];
      room.grow(!closed);
      if (thoughts(lane.thinking) && part.thinking.open) toEnd();
      more = answer.show(lane.text, { edition: lane.edition, whole: closed });
    },
  };
}
