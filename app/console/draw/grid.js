// The ground a chart stands on: margins, grid lines, ticks and captions as plain shapes; pure.
// A shape is {tag, class, ...attributes, text}; chart.js makes SVG of it.

import { label, scale, ticks } from "./axis.js";

export const CHAR = 6.4; // how wide a letter of a tick is, in pixels, near enough
const BOLD = 1.15; // how much wider one of a label is
const TICK_GAP = 64;
const LINE = 15;

export const widthOf = (text) => text.length * CHAR;
export const text = (words, x, y, more = {}) => ({ tag: "text", x: round(x), y: round(y), text: words, ...more });
export const round = (value) => Math.round(value * 10) / 10;

/** What the ticks of an axis are and say, at most one for each so many pixels. */
export function marked(axis, pixels, gap = TICK_GAP) {
  const at = ticks(axis.low, axis.high, { kind: axis.kind, log: axis.log, count: Math.max(2, Math.floor(pixels / gap)) });
  const step = at.length > 1 ? at[1] - at[0] : 0;
  return at.map((value) => ({ value, words: label(value, axis.kind, step) }));
}

/** Words under a place of an axis, no part of them outside these ends. */
export function below(words, x, y, [left, right]) {
  const half = widthOf(words) / 2;
  return text(words, Math.max(left + half, Math.min(right - half, x)), y, { class: "tick", "text-anchor": "middle" });
}

/** Labels over vertical lines, none over another: each gets the lowest row where it has room. */
export function rowsOf(labels, left, right) {
  const ends = [];
  return labels.toSorted((a, b) => a.x - b.x).map((one) => {
    const half = (BOLD * widthOf(one.label)) / 2 + 4;
    const x = Math.max(left + half, Math.min(right - half, one.x));
    let row = ends.findIndex((end) => end <= x - half);
    if (row < 0) row = ends.length;
    ends[row] = x + half;
    return { ...one, at: x, row };
  });
}

/** The box that the values are drawn in, its two scales, and the shapes around it. */
export function ground({ x, y, marks = [], height = 240 }, width) {
  const across = marked(y, height - 60, 44);
  const left = Math.ceil(Math.max(...across.map((tick) => widthOf(tick.words)))) + 12;
  const right = width - 14;
  const flat = scale([x.low, x.high], [left, right], x);
  const labels = rowsOf(marks.filter((mark) => mark.x >= x.low && mark.x <= x.high).map((mark) => ({ ...mark, value: mark.x, x: flat(mark.x) })), left, right);
  const top = 12 + LINE * labels.reduce((most, one) => Math.max(most, one.row + 1), 0);
  const bottom = height - (x.label ? 40 : 22);
  const steep = scale([y.low, y.high], [bottom, top], y);
  const area = { left, right, top, bottom };
  return { area, flat, steep, labels, shapes: [...grid(area, steep, across), ...feet(area, flat, x)] };
}

function grid({ left, right }, steep, across) {
  return across.flatMap(({ value, words }) => [
    { tag: "line", class: "grid", x1: left, x2: right, y1: round(steep(value)), y2: round(steep(value)) },
    text(words, left - 8, steep(value) + 4, { class: "tick", "text-anchor": "end" }),
  ]);
}

function feet({ left, right, bottom }, flat, axis) {
  const under = marked(axis, right - left, axis.kind === "date" ? 76 : TICK_GAP).map(({ value, words }) => below(words, flat(value), bottom + 17, [left - 6, right + 8]));
  const base = { tag: "line", class: "base", x1: left, x2: right, y1: bottom, y2: bottom };
  return axis.label ? [base, ...under, text(axis.label, (left + right) / 2, bottom + 35, { class: "caption", "text-anchor": "middle" })] : [base, ...under];
}

/** The vertical lines of a chart, and over all of them their labels. */
export function verticals({ area, flat, labels }) {
  const placed = labels.map((mark) => ({ ...mark, x: round(flat(mark.value)), y: area.top - 8 - LINE * mark.row }));
  const lines = placed.map(({ tone, dash, x, y }) => ({ tag: "line", class: `mark tone-${tone} ${dash ?? "solid"}`, x1: x, x2: x, y1: y + 4, y2: area.bottom }));
  return [...lines, ...placed.map((mark) => text(mark.label, mark.at, mark.y, { class: `mark-label tone-${mark.tone}`, "text-anchor": "middle" }))];
}
