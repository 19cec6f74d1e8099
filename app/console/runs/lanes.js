// Both lanes of one run side by side, as they were after so many events.

import { createGrowing } from "../ask/growing.js";
import { createAnswer } from "../ask/markdown.js";
import { attr, el, mark, put } from "../dom.js";
import { cost, CUT, duration, modelName, outputTokens, REASONS, STATES, UNKNOWN } from "../words.js";
import { LANES } from "./fold.js";
import { LANE_NAMES, ONE, ROLES } from "./words.js";

const RUNNING = new Set(["waiting", "thinking", "answering"]);

function createLane(name) {
  const part = (tag, key, props, ...children) => el(tag, { dataset: { part: key }, ...props }, ...children);
  const model = part("span", "model", { class: "model" });
  const state = part("span", "state", { class: "one-state" });
  const role = part("p", "role", { class: "one-role" });
  const answer = part("div", "answer", { class: "answer one-answer" });
  const note = part("p", "note", { class: "soft" });
  const figures = part("p", "figures", { class: "one-figures soft" });
  const size = el("span", { class: "soft" });
  const thinking = part("div", "thinking", { class: "one-thinking", tabindex: "0", role: "group", "aria-label": ONE.thinking });
  const thoughts = el("details", { hidden: true }, el("summary", null, ONE.thinking, " ", size), thinking);
  const head = el("header", null, el("h2", null, LANE_NAMES[name]), model, state);
  const node = el("article", { class: "card one-lane", dataset: { runLane: name } }, head, role, thoughts, answer, note, figures);
  const written = createAnswer(answer);
  const thought = createGrowing(thinking);

  function figuresOf(lane) {
    if (RUNNING.has(lane.state)) return "";
    const first = lane.ttftMs === null ? UNKNOWN : duration(lane.ttftMs);
    return ONE.figures({ first, total: duration(lane.latencyMs), tokens: outputTokens(lane.usage), price: cost(lane.costUsd) });
  }

  return {
    node,
    /** kept: whether the texts of this run are there to be shown; cut: whether it stopped at its limit of tokens. */
    show(lane, { kept, cut }) {
      const running = RUNNING.has(lane.state);
      mark(node, "state", lane.state);
      mark(node, "role", lane.role ?? "");
      put(model, modelName(lane.model) || "–");
      attr(model, "title", lane.model ?? "");
      put(state, STATES[lane.state] ?? lane.state);
      put(role, ROLES[lane.role] ?? "");
      while (written.show(lane.text, { edition: lane.edition, whole: !running }));
      thoughts.hidden = lane.thinking === "";
      thought(lane.thinking);
      put(size, ONE.thinkingSize(lane.thinking.length.toLocaleString("en")));
      const silent = lane.text === "" && kept && lane.reason !== "interrupted" ? (running ? ONE.waiting : ONE.nothingSaid) : "";
      put(note, [silent, cut && lane.state === "completed" ? CUT : "", lane.message ?? REASONS[lane.reason] ?? lane.reason ?? ""].filter(Boolean).join(" "));
      note.hidden = note.textContent === "";
      put(figures, figuresOf(lane));
    },
  };
}

/** Both lanes: a node, and show(state of fold.js, {kept, cut}); cut: of which lanes. */
export function createLanes() {
  const lanes = Object.fromEntries(LANES.map((name) => [name, createLane(name)]));
  return {
    node: el("div", { class: "one-lanes" }, Object.values(lanes).map(({ node }) => node)),
    show(state, { kept = true, cut = [] } = {}) {
      for (const name of LANES) lanes[name].show(state.lanes[name], { kept, cut: cut.includes(name) });
    },
  };
}
