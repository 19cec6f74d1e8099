// Sentences of the Insight page that are made of several numbers; pure.

import { label } from "../draw/axis.js";
import { cost, count, duration, percent } from "../words.js";
import { LANE_WORDS, METRICS, PARTS } from "./words.js";

const LESS = { latency: ["faster", "slower"], ttft: ["faster", "slower"], cost: ["cheaper", "dearer"], agreement: ["lower", "higher"], correct: ["lower", "higher"] };

/** Which way of the axis is which. */
export const sidesOf = ({ metric, b }) => `← ${b.variant} ${LESS[metric][0]}   ·   ${b.variant} ${LESS[metric][1]} →`;

/** How a value of a unit of the server is written. */
export const WRITE = { ms: duration, usd: cost, share: percent };

/** One lane in one sentence, and why that timeout. */
export function laneSentence(lane, answer) {
  const { p50, p95 } = answer.quantiles;
  const by = p95.reached ? `, 95 % by ${duration(p95.ms)}` : "; the data do not reach 95 %";
  const half = p50.reached ? `half by ${duration(p50.ms)}${by}` : "fewer than half ended before they were cut short";
  return `${LANE_WORDS[lane]}: ${half} (n = ${count(answer.n)}).`;
}

/** The advice for a lane in words, beside what is set. */
export function laneAdvice(lane, answer, limit) {
  const { ms: at, reason } = answer.advised_timeout;
  if (at === null) return `${LANE_WORDS[lane]}: no timeout can be advised. ${reason}`;
  const beside = limit === null ? "" : ` (set: ${label(limit, "ms")})`;
  return `${LANE_WORDS[lane]}: ${duration(at)} would do${beside}. ${reason}`;
}

/** How much longer one waits for the slow answer: its mean, and its spread where that is known. */
export function waitOf({ mean, p50, p95, n }) {
  if (n === 0) return "unknown";
  const longer = mean < 0 ? `${duration(-mean)} less` : `${duration(mean)} more`;
  const spread = p50 === null || p50 === undefined ? "" : `; at most ${duration(Math.max(0, p50))} in half the runs, ${duration(Math.max(0, p95))} in 95 %`;
  return `${longer} on average${spread}`;
}

/** What both lanes cost, as far as it is known, and whether that is all: {usd: null where nothing is, whole}. */
export function spentOf(group) {
  const known = Object.values(group.lanes).filter((lane) => lane.cost.n > 0);
  const whole = Object.values(group.lanes).every((lane) => lane.cost.n === lane.n);
  return { usd: known.length > 0 ? known.reduce((sum, lane) => sum + lane.cost.sum_usd, 0) : null, whole };
}

/** The same in words: what is known of a sum of which a part is unknown is the least it can be. */
export function spentWords(group) {
  const { usd, whole } = spentOf(group);
  return usd !== null && !whole ? `at least ${cost(usd)}` : cost(usd);
}

/** Shares differ by points, not by percent of each other. */
const points = (x) => `${percent(Math.abs(x)).replace(" %", "")} percentage points`;

/** What the difference means, in one plain sentence. */
export function contestSentence(answer) {
  const { value, low, high } = answer.difference;
  if (value === null) return answer.verdict;
  const [a, b] = [answer.a.variant, answer.b.variant];
  const write = answer.unit === "share" ? points : (x) => WRITE[answer.unit](Math.abs(x));
  const word = LESS[answer.metric][value < 0 ? 0 : 1];
  if (value === 0) return `${METRICS[answer.metric]}: no difference between ${a} and ${b} was seen. ${answer.verdict}`;
  const what = `${METRICS[answer.metric]}, ${PARTS[answer.part].toLowerCase()}`;
  if (low === null || high === null) return `${what}: ${b} looks ${write(value)} ${word} than ${a}, but ${answer.verdict}`;
  if (low > 0 || high < 0) {
    const ends = [low, high].map(Math.abs).toSorted((x, y) => x - y).map(write);
    return `${what}: ${b} is ${write(value)} ${word} than ${a} (95 % interval: ${ends[0]} to ${ends[1]}).`;
  }
  return `${what}: no difference between ${a} and ${b} can be told from chance. ${answer.verdict}`;
}

/** How it was found out: paired or not, by which interval and test. */
export function contestMethod(answer) {
  const { n, of_both: both } = answer.questions;
  const pairing = answer.paired
    ? `Paired: both were asked the same ${count(both)} questions, and each is one piece of evidence.`
    : `Not paired: ${count(both)} of ${count(n)} questions were asked of both. The same questions under both variants would tell more.`;
  const { method, resamples } = answer.difference;
  const how = { bootstrap: `Interval: bootstrap over questions, ${count(resamples)} resamples.`, normal: "Interval: linearised, by question.", none: "" }[method];
  const test = answer.mcnemar && answer.mcnemar.n > 0
    ? `McNemar's exact test over ${count(answer.mcnemar.n)} pairs: p = ${pValue(answer.mcnemar.p_exact)} (${answer.a.variant} alone in ${count(answer.mcnemar.a_only)}, ${answer.b.variant} alone in ${count(answer.mcnemar.b_only)}).`
    : "";
  return [pairing, how, test].filter(Boolean);
}

const pValue = (p) => (p < 0.001 ? "below 0.001" : p.toPrecision(2));
