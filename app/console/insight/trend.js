// The lanes' median and 95th percentile, hour by hour or day by day.

import { bounds, spread } from "../draw/axis.js";
import { chart } from "../draw/chart.js";
import { count } from "../words.js";
import { choice } from "./card.js";
import { inTime, selectionOf, stepOf, timeAxis } from "./query.js";
import { FEW, LANE_WORDS, PAGE, TIME_WORDS, basis, ms, TREND as WORDS } from "./words.js";

const LANES = ["fast", "slow"];
const SPOTS = { fast: "circle", slow: "square" };
const SHOWN = [["p50_ms", "half by", "solid"], ["p95_ms", "95 % by", "dashed"]];
const stamp = (at, step) => new Date(at).toISOString().slice(0, step === "hour" ? 16 : 10).replace("T", " ");

/** How long the lanes took in one step of time. */
const timesOf = (point, lane, time) => point.group.lanes[lane][time];

function readAt(points, at, { step, time }) {
  const point = points.find((one) => one.x === at);
  const lines = LANES.map((lane) => {
    const t = timesOf(point, lane, time);
    const cut = t.censored > 0 ? `, ${count(t.censored)} cut short` : "";
    return `${LANE_WORDS[lane]}: p50 ${ms(t.p50_ms)}, p95 ${ms(t.p95_ms)} (n = ${count(t.n)}${cut})`;
  });
  return [stamp(at, step), ...lines, ...(point.group.n < FEW ? [`${count(point.group.n)} runs: too few to say`] : [])];
}

const tableRows = (points, { step, time }) =>
  points.flatMap((point) =>
    LANES.map((lane) => {
      const t = timesOf(point, lane, time);
      return [stamp(point.x, step), LANE_WORDS[lane], count(t.n), count(t.censored), ms(t.p50_ms), ms(t.p95_ms), ms(t.p99_ms)];
    }),
  );

/** What chart.js draws of these points. how: {step, time, now}. */
export function specOf(points, how) {
  const { step, time, now } = how;
  const axis = timeAxis(points, step, now);
  const series = LANES.flatMap((lane) =>
    SHOWN.map(([name, words, dash]) => ({
      name: `${LANE_WORDS[lane]}, ${words}`,
      tone: lane,
      dash,
      spot: SPOTS[lane],
      points: points.map((point) => ({ x: point.x + axis.step / 2, y: timesOf(point, lane, time)[name], after: point.after })),
    })),
  );
  const values = series.flatMap((one) => one.points.map((point) => point.y));
  const log = spread(values);
  const [low, high] = bounds(values, { kind: "ms", zero: true, log });
  const last = points.at(-1);
  return {
    id: "trend",
    title: WORDS.title[step],
    description: `The newest ${step}: ${readAt(points, last.x, how).slice(1).join("; ")}.`,
    hint: PAGE.hint,
    tableName: PAGE.numbers,
    x: { ...axis, label: WORDS.axis[step] },
    y: { kind: "ms", low, high, log },
    legend: series.map(({ name, tone, dash, spot }) => ({ name, tone, dash, spot })),
    series,
    stops: points.map((point) => point.x + axis.step / 2),
    read: (at) => readAt(points, at - axis.step / 2, how),
    table: { head: WORDS.head, rows: tableRows(points, how) },
  };
}

function notesOf(points, { step, time }) {
  const thin = points.filter((point) => point.group.n < FEW).length;
  const lost = points.filter((point) => LANES.some((lane) => timesOf(point, lane, time).censored > 0 && SHOWN.some(([name]) => timesOf(point, lane, time)[name] === null))).length;
  return [thin > 0 ? WORDS.thin(thin, points.length, step) : "", lost > 0 ? WORDS.missing(lost, step) : ""];
}

export const trend = {
  id: "trend",
  title: WORDS.name,
  lead: WORDS.lead,
  tools: (filters, change) => [choice("Time until", TIME_WORDS, filters.time, (time) => change({ time }))],
  async load(ask, filters, now) {
    const step = stepOf(filters);
    return { answer: await ask("/api/experiments/stats", { ...selectionOf(filters, now), by: step }), step, now };
  },
  view({ answer, step, now }, filters) {
    const points = inTime(answer.groups, step).filter((point) => LANES.some((lane) => timesOf(point, lane, filters.time).n > 0));
    if (points.length === 0) return { empty: WORDS.none };
    const how = { step, time: filters.time, now };
    const spec = specOf(points, how);
    const drawn = chart("plot", spec);
    return { nodes: [drawn.node], notes: [...notesOf(points, how), spec.y.log ? WORDS.log : "", ...basis(answer)], charts: [drawn] };
  },
};

