// The race drawn: a row a lane, thin until its first token, thick until its end; limits as dashed lines, the preliminary
// and the final as marks. Positions are shares of the width, so that it fits every screen.
//
// #race (figure), in it [data-mark=first|end|preliminary|final|limit][data-of]; #race-text says the same in words.

import { el, put, replace, svg } from "../dom.js";
import { clock, duration, laneWord, STATES } from "../words.js";
import { raceOf, ticksOf } from "./race.js";
import { LANES } from "./run.js";
import { RACE } from "./words.js";

const ROW = { fast: 26, slow: 58 };
const FLOOR = 80;
const HEIGHT = 104;

const at = (facts, ms) => `${((100 * ms) / facts.span).toFixed(2)}%`;
const line = (facts, from, to, y, props) => svg("line", { x1: at(facts, from), x2: at(facts, to), y1: y, y2: y, ...props });

function laneNodes(facts, name) {
  const { first, end } = facts.lanes[name];
  const y = ROW[name];
  const known = first !== null && first <= (end ?? first);
  const nodes = [line(facts, 0, known ? first : (end ?? 0), y, { class: "wait" })];
  if (known) {
    nodes.push(line(facts, first, end ?? first, y, { class: "say" }));
    nodes.push(svg("circle", { cx: at(facts, first), cy: y, r: 5, dataset: { mark: "first", of: name } }, svg("title", null, RACE.at(RACE.first, duration(first)))));
  }
  if (facts.lanes[name].ended && typeof end === "number") {
    nodes.push(svg("line", { x1: at(facts, end), x2: at(facts, end), y1: y - 9, y2: y + 9, class: "end", dataset: { mark: "end", of: name } }));
  }
  return svg("g", { class: "row", dataset: { of: name } }, nodes);
}

function flag(facts, ms, { lane, mark, word }) {
  const late = ms > facts.span * 0.6;
  const [x, y] = [at(facts, ms), ROW[lane] - 13];
  return svg(
    "g",
    { class: "flag", dataset: { mark, of: lane } },
    svg("text", { x, y, "text-anchor": late ? "end" : "start" }, word),
  );
}

function limitNodes(facts) {
  return facts.limits.map(({ lane, ms }) => {
    const [from, to] = lane === null ? [8, FLOOR] : [ROW[lane] - 14, ROW[lane] + 14];
    const word = lane === null ? RACE.deadline : RACE.limit[lane];
    return svg(
      "line",
      { x1: at(facts, ms), x2: at(facts, ms), y1: from, y2: to, class: "limit", dataset: { mark: "limit", of: lane ?? "run" } },
      svg("title", null, RACE.at(word, duration(ms))),
    );
  });
}

function axisNodes(facts) {
  const ticks = ticksOf(facts.span);
  return ticks.flatMap((ms, i) => [
    svg("line", { x1: at(facts, ms), x2: at(facts, ms), y1: FLOOR, y2: FLOOR + 5, class: "tick" }),
    ms > facts.span * 0.97 ? null : svg("text", { x: at(facts, ms), y: FLOOR + 19, class: "time", "text-anchor": i === 0 ? "start" : "middle" }, tickWord(ms)),
  ]);
}

const tickWord = (ms) => (ms === 0 ? "0" : ms < 1000 ? `${Math.round(ms)} ms` : `${Number((ms / 1000).toFixed(2))} s`);

function sentence(facts, name) {
  const { first, end, ended, outcome } = facts.lanes[name];
  const said = [first === null ? null : RACE.after(RACE.first, duration(first))];
  said.push(ended ? RACE.after((STATES[outcome] ?? outcome).toLowerCase(), duration(end)) : RACE.running);
  for (const limit of facts.limits.filter(({ lane }) => lane === name)) said.push(RACE.at(RACE.limit[name], clock(limit.ms)));
  return RACE.lane(laneWord(name), said.filter(Boolean));
}

/** The race in words: what a reader of the screen hears, and everybody sees below the drawing. */
export function wordsOf(facts) {
  const said = LANES.map((name) => sentence(facts, name));
  for (const { ms } of facts.limits.filter(({ lane }) => lane === null)) said.push(`${RACE.at(RACE.deadline, duration(ms))}.`);
  if (facts.cached) said.push(RACE.cached);
  return said.join(" ");
}

export function createTimeline() {
  const drawing = svg("svg", { class: "race", height: HEIGHT, width: "100%", "aria-hidden": "true" });
  const words = el("figcaption", { id: "race-text" });
  const node = el("figure", { id: "race", hidden: true }, el("h3", null, RACE.title), drawing, words);

  return {
    node,
    paint(state, now) {
      const facts = raceOf(state, now);
      node.hidden = facts === null;
      if (facts === null) return;
      const { preliminary, final } = facts;
      replace(
        drawing,
        svg("line", { x1: 0, x2: "100%", y1: FLOOR, y2: FLOOR, class: "floor" }),
        axisNodes(facts),
        limitNodes(facts),
        LANES.map((name) => laneNodes(facts, name)),
        preliminary !== null && final?.lane !== "fast" ? flag(facts, preliminary, { lane: "fast", mark: "preliminary", word: RACE.preliminary }) : null,
        final !== null && typeof final.ms === "number" ? flag(facts, final.ms, { lane: final.lane, mark: "final", word: RACE.final }) : null,
      );
      put(words, wordsOf(facts));
    },
  };
}
