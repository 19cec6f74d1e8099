// One lane: whose answer, how far it is, what it has said. paint(state, now) changes only what differs.
//
// [data-lane=fast|slow][data-state][data-role=preliminary|replaced|final]; inside it data-part = name, model, state, role,
// time-label, time, first, tokens, cost, thinking, thinking-word, thinking-size, thinking-text, answer, note.

import { attr, el, mark, put } from "../dom.js";
import * as say from "../words.js";
import { createAnswer } from "./markdown.js";
import { canStop, elapsedMs } from "./run.js";
import { LANE } from "./words.js";

const THOUGHT_PART = 4000; // characters in one text node

function build(name) {
  const part = {};
  const made = (key, tag, props, ...children) => (part[key] = el(tag, { ...props, dataset: { part: key } }, ...children));
  const figure = (label, key) => el("div", null, typeof label === "string" ? el("dt", null, label) : label, made(key, "dd"));
  const word = say.laneWord(name);
  const node = el(
    "article",
    { class: "lane", dataset: { lane: name }, "aria-label": LANE.answer(word) },
    el("header", null, el("h3", null, made("name", "span", null, word)), made("model", "span", { class: "model" }), el("span", { class: "state" }, el("span", { class: "dot", "aria-hidden": "true" }), made("state", "span"))),
    el("dl", { class: "meter" }, figure(made("time-label", "dt"), "time"), figure(LANE.first, "first"), figure(LANE.tokens, "tokens"), figure(LANE.cost, "cost")),
    made(
      "thinking",
      "details",
      { hidden: true },
      el("summary", null, made("thinking-word", "span"), " ", made("thinking-size", "span", { class: "size" })),
      made("thinking-text", "div", { class: "thinking-text", dir: "auto", tabindex: 0, role: "region", "aria-label": LANE.thoughts }),
    ),
    made("role", "p", { class: "role" }),
    made("answer", "div", { class: "answer", dir: "auto" }),
    made("note", "p", { class: "lane-note", hidden: true }),
  );
  return { node, part };
}

/** A growing plain text, in text nodes of a bounded size. */
function createThoughts(node) {
  let shown = 0;
  return (text) => {
    if (text.length < shown) {
      node.replaceChildren();
      shown = 0;
    }
    while (shown < text.length) {
      const last = node.lastChild;
      const room = last === null ? 0 : THOUGHT_PART - last.length;
      const piece = text.slice(shown, shown + (room > 0 ? room : THOUGHT_PART));
      if (room > 0) last.appendData(piece);
      else node.append(document.createTextNode(piece));
      shown += piece.length;
    }
  };
}

/** What this lane's answer is worth: the final, a preliminary, or one that was replaced. */
export function roleOf(state, name) {
  if (state.final?.lane === name) return ["final", state.final.verified ? LANE.final : LANE.unverified];
  if (name !== "fast" || state.preliminary === null) return ["", ""];
  if (state.final?.change === "revised") return ["replaced", LANE.replaced];
  return ["preliminary", LANE.preliminary];
}

/** Why a lane did not complete. */
export function noteOf({ end }) {
  if (end === null || end.outcome === "completed") return "";
  const { reason, message } = end;
  return [message ?? say.REASONS[reason] ?? "", reason ? `(${reason})` : ""].filter(Boolean).join(" ");
}

function placeholder(state, lane) {
  if (lane.text.trim() !== "" || lane.thinking !== "") return "";
  return lane.end !== null || !canStop(state) ? LANE.noText : LANE.waiting;
}

export function createLane(name) {
  const { node, part } = build(name);
  const answer = createAnswer(part.answer);
  const thoughts = createThoughts(part["thinking-text"]);
  part.thinking.addEventListener("toggle", () => {
    part["thinking-text"].scrollTop = part["thinking-text"].scrollHeight;
  });

  function paintThinking(lane) {
    part.thinking.hidden = lane.thinking === "";
    mark(part.thinking, "working", String(lane.state === "thinking"));
    put(part["thinking-word"], lane.state === "thinking" ? LANE.thinking : LANE.thoughts);
    put(part["thinking-size"], LANE.size(lane.thinking.length));
    if (!part.thinking.open) return thoughts(lane.thinking);
    const box = part["thinking-text"];
    const following = box.scrollTop + box.clientHeight >= box.scrollHeight - 4;
    thoughts(lane.thinking);
    if (following) box.scrollTop = box.scrollHeight;
    return undefined;
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

  return {
    node,
    part,
    /** Whether there is more text than could be shown in this frame. */
    paint(state, now) {
      const lane = state.lanes[name];
      const over = !canStop(state);
      const shown = over && lane.end === null ? "stopped" : lane.state;
      mark(node, "state", shown);
      put(part.state, say.STATES[shown] ?? LANE.stopped);
      put(part.model, say.modelName(lane.model));
      attr(part.model, "title", lane.model ?? "");
      const [role, words] = roleOf(state, name);
      mark(node, "role", role);
      put(part.role, words);
      paintMeter(state, lane, now);
      paintThinking(lane);
      mark(part.answer, "placeholder", placeholder(state, lane));
      const note = noteOf(lane);
      part.note.hidden = note === "";
      put(part.note, note);
      return answer.show(lane.text, { edition: lane.edition, whole: over || lane.end !== null });
    },
  };
}
