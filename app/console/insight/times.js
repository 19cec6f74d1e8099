// How long the lanes take: both Kaplan-Meier curves, the timeouts as they are set, and those that the data advise.

import { bounds, label } from "../draw/axis.js";
import { chart } from "../draw/chart.js";
import { stopsOf } from "../draw/plot.js";
import { count, duration, percent } from "../words.js";
import { choice, sentences, table } from "./card.js";
import { selectionOf } from "./query.js";
import { laneAdvice, laneSentence } from "./sentences.js";
import { FEW, LANE_WORDS, PAGE, TIME_WORDS, basis, few, interval, ms, TIMES as WORDS } from "./words.js";

const LANES = ["fast", "slow"];
const LOOK = { fast: { tone: "fast", dash: "solid" }, slow: { tone: "slow", dash: "dashed" } };
const LIMIT = { total: "timeout_s", first_token: "first_token_timeout_s" };
/** The timeouts in milliseconds that the newest of these runs was asked with; null where that is not kept. */
function limitsOf(newest, time) {
  const given = newest.experiments[0]?.payload?.parameters;
  const limit = (lane) => given?.[lane]?.[LIMIT[time]];
  return Object.fromEntries(LANES.map((lane) => [lane, Number.isFinite(limit(lane)) ? limit(lane) * 1000 : null]));
}

/** The share of a lane that had ended by a time, and what is known of it; null before the first end, or past the last. */
export function atTime(answer, at) {
  const last = answer.curve.at(-1);
  if (!last || (at > last.at && last.share < 1)) return null;
  return answer.curve.findLast((point) => point.at <= at) ?? { at, share: 0, low: null, high: null, at_risk: answer.n };
}

function readAt(data, at) {
  const lines = LANES.filter((lane) => data[lane].n > 0).map((lane) => {
    const found = atTime(data[lane], at);
    if (found === null) return `${LANE_WORDS[lane]}: nothing is known of so late`;
    return `${LANE_WORDS[lane]}: ${percent(found.share)} (${interval(found.low, found.high, percent)})`;
  });
  return [`By ${duration(at)}`, ...lines];
}

/** What chart.js draws of these answers. */
export function specOf(data, time) {
  const lanes = LANES.filter((lane) => data[lane].curve.length > 0);
  const marks = lanes.flatMap((lane) => [
    [data.limits[lane], `${LANE_WORDS[lane]} ${WORDS.set}`, "solid"],
    [data[lane].advised_timeout.ms, `${LANE_WORDS[lane]} ${WORDS.advised}`, "dotted"],
  ].filter(([at]) => at !== null).map(([at, words, dash]) => ({ x: at, label: `${words} ${label(at, "ms")}`, tone: LOOK[lane].tone, dash })));
  const places = lanes.flatMap((lane) => data[lane].curve.map((point) => point.at));
  const [low, high] = bounds([...places.map((at) => Math.max(1, at)), ...marks.map((one) => one.x)], { kind: "ms", log: true });
  return {
    id: "times",
    title: WORDS.title[time],
    description: lanes.map((lane) => laneSentence(lane, data[lane])).join(" "),
    hint: PAGE.hint,
    tableName: PAGE.numbers,
    height: 300,
    x: { kind: "ms", log: true, low, high, label: WORDS.axis },
    y: { kind: "share", low: 0, high: 1 },
    marks,
    legend: lanes.map((lane) => ({ name: `${LANE_WORDS[lane]} with 95 % interval`, ...LOOK[lane] })),
    series: lanes.map((lane) => ({
      ...LOOK[lane],
      shape: "step",
      tag: LANE_WORDS[lane],
      from: low,
      until: data[lane].curve.at(-1).share < 1 ? undefined : high,
      points: data[lane].curve.map((point) => ({ x: point.at, y: point.share, low: point.low, high: point.high })),
    })),
    stops: stopsOf([...places, ...marks.map((one) => one.x)]),
    read: (at) => readAt(data, at),
    table: {
      head: WORDS.numbers,
      rows: lanes.flatMap((lane) => data[lane].curve.map((p) => [duration(p.at), LANE_WORDS[lane], percent(p.share), interval(p.low, p.high, percent), count(p.at_risk)])),
    },
  };
}

const row = (lane, answer, limit) => [
  LANE_WORDS[lane],
  count(answer.n),
  count(answer.censored),
  ms(answer.quantiles.p50.ms),
  ms(answer.quantiles.p95.ms),
  ms(answer.quantiles.p99.ms),
  limit === null ? "unknown" : label(limit, "ms"),
  answer.advised_timeout.ms === null ? "none" : duration(answer.advised_timeout.ms),
];

function notesOf(data, filters) {
  const each = LANES.flatMap((lane) => {
    const { n, failed } = data[lane];
    if (n === 0) return filters.model ? [WORDS.noLane(lane, filters.model)] : [];
    return [n < FEW ? `${LANE_WORDS[lane]}: ${few(n, "lanes")}` : "", failed > 0 ? WORDS.failed(lane, failed) : ""];
  });
  const known = Object.values(data.limits).some((limit) => limit !== null);
  return [...each, known ? WORDS.newest : WORDS.nothingSet, ...basis(data.slow)];
}

export const times = {
  id: "times",
  title: WORDS.name,
  lead: WORDS.lead,
  wide: true,
  tools: (filters, change) => [choice("Time until", TIME_WORDS, filters.time, (time) => change({ time }))],
  async load(ask, filters, now) {
    const chosen = selectionOf(filters, now);
    const curve = (lane) => ask("/api/experiments/deadline-curve", { ...chosen, lane, metric: filters.time });
    const listed = ask("/api/experiments", { ...chosen, source: "live", limit: 1, payload: true, fields: "run_id" });
    const [fast, slow, newest] = await Promise.all([curve("fast"), curve("slow"), listed]);
    return { fast, slow, limits: limitsOf(newest, filters.time) };
  },
  view(data, filters) {
    if (data.fast.n + data.slow.n === 0) return { empty: WORDS.none };
    const drawn = data.fast.curve.length + data.slow.curve.length > 0 ? chart("plot", specOf(data, filters.time)) : null;
    const seen = LANES.filter((lane) => data[lane].n > 0);
    const rows = table(WORDS.table, WORDS.head, seen.map((lane) => row(lane, data[lane], data.limits[lane])));
    const advice = seen.map((lane) => laneAdvice(lane, data[lane], data.limits[lane]));
    return { nodes: [drawn?.node, sentences(advice), rows], notes: notesOf(data, filters), charts: drawn ? [drawn] : [] };
  },
};
