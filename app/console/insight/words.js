// The English of the Insight page, and sentences made of the server's numbers. What is not known is said to be unknown.

import { count, duration, percent } from "../words.js";

export const FEW = 20; // runs below which a share or a high percentile says little

export const PAGE = {
  title: "Insight",
  lead: "What your runs say about both models: how long they take, how often they agree, what they cost.",
  loading: "Counting…",
  refresh: "Refresh",
  clear: "Clear filters",
  any: "Any",
  all: "Everything",
  showAll: "Show everything",
  asOf: (n, at) => `${count(n)} ${n === 1 ? "run" : "runs"}, as of ${at}`,
  updated: (n) => `Insight shows ${count(n)} ${n === 1 ? "run" : "runs"}.`,
  filters: "Which runs are shown",
  listless: "The lists of labels could not be read; type a label.",
  hint: "Point at the chart, or focus it and use the arrow keys, to read its values.",
  numbers: "Show the numbers",
  again: "Try again",
};

export const SPAN_WORDS = { "1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days", all: "All" };
export const AGO = { "1h": "the last hour", "24h": "the last 24 hours", "7d": "the last 7 days", "30d": "the last 30 days", all: "all of time" };
export const LABEL_WORDS = { experiment: "Experiment", variant: "Variant", prompt_class: "Class", model: "Model" };
export const TIME_WORDS = { first_token: "First token", total: "Whole answer" };
export const LANE_WORDS = { fast: "Fast", slow: "Slow" };

export const EMPTY = {
  title: "There is nothing to tell yet",
  lead: "This page counts runs. Ask a few questions and come back:",
  ask: "Ask a question",
  steps: [
    ["From a terminal, a whole set at once:", "tandem race --n 50 questions.txt"],
    ["With labels, so that variants can be compared:", '{"input": "…", "experiment": "prompts", "variant": "a", "prompt_class": "maths"}'],
    ["And say afterwards which answers were right:", 'PUT /api/experiments/RUN_ID/feedback/fast_correct {"value": true}'],
  ],
};
export const NONE = {
  title: "No run passes these filters",
  words: (span) => `In ${span} there is none with these labels.`,
  spanOnly: (span) => `In ${span} nothing was asked, but there are older runs.`,
};

export const few = (n, what = "runs") => `${count(n)} ${n === 1 ? what.replace(/s$/, "") : what}: too few to say.`;
export const interval = (low, high, write) => (low === null || high === null ? "no interval" : `${write(low)} to ${write(high)}`);
export const unknownOf = (missing, all, what) => (missing > 0 ? `Of ${count(missing)} of ${count(all)} ${what} the cost is unknown; they are not in these sums.` : "");

/** What an answer rests on, where that is less than everything. */
export function basis(answer) {
  const hours = answer?.behind?.hours ?? 0;
  const late = hours > 0 ? [`${count(hours)} ${hours === 1 ? "hour has" : "hours have"} new runs that are not counted yet; look again in a minute.`] : [];
  return answer?.approximate ? [...late, "Times are within 1 %."] : late;
}

/** Share with its interval: 71 % (64 % to 77 %) of 203. */
export const shareOf = (share) => (share.n === 0 ? "unknown (n = 0)" : `${percent(share.share)} (${interval(share.low, share.high, percent)}) of ${count(share.n)}`);

/** A mean with its n; unknown without any. */
export const meanOf = (mean, write) => (mean.n === 0 || mean.mean === null ? "unknown" : `${write(mean.mean)} on average (n = ${count(mean.n)})`);

export const ms = (value) => (value === null ? "not reached" : duration(value));

const EXPLAINED = [
  [/hour takes a span/, "Too long for hours", "By the hour the server counts at most three days. Choose 24 hours, or look at more by the day.", { span: "24h" }, "Show 24 hours"],
  [/more than \d+ groups/, "Too many groups", "These labels make more than a thousand groups. Choose a shorter span, or one experiment or class.", { span: "24h" }, "Show 24 hours"],
  [/b: must be another variant/, "One variant twice", "Choose two different variants.", null, null],
  [/part: agreement is of/, "Agreement is of a run", "Both lanes make an agreement, so it belongs to the whole run.", { part: "" }, "Compare whole runs"],
];
const BY_CODE = {
  forbidden: ["Not for this key", "Your role may ask, but not read the record. Ask whoever runs the server for a key with the role “read”."],
  record_unavailable: ["The record cannot be read now", "The database does not answer. Nothing is lost: runs are kept and stored later."],
  unreachable: ["The server cannot be reached", "Is it running? The numbers come back with it."],
};

/** A refusal in helpful words: {title, detail, code, fix: {change, words} or null}. */
export function explain(problem) {
  const known = problem.status === 422 && EXPLAINED.find(([pattern]) => pattern.test(problem.detail));
  if (known) return { title: known[1], detail: known[2], code: problem.code, fix: known[4] ? { change: known[3], words: known[4] } : null };
  const [title, detail] = BY_CODE[problem.code] ?? [problem.title ?? "The numbers could not be read", problem.detail ?? ""];
  const later = problem.retryAfter ? ` Try again in ${duration(problem.retryAfter * 1000)}.` : "";
  return { title, detail: detail + later, code: problem.code ?? problem.name, fix: null };
}

export const TIMES = {
  axis: "Time since the question, on a logarithmic scale",
  title: { total: "Share of answers that are complete by a time, by lane", first_token: "Share of answers that have begun by a time, by lane" },
  head: ["Lane", "Lanes seen", "Cut short", "Half by", "95 % by", "99 % by", "Timeout set", "Timeout advised"],
  numbers: ["Time", "Lane", "Share", "95 % interval", "Still running"],
  set: "timeout",
  advised: "advised",
  none: "No lane of these runs ended or was cut short, so there are no times yet.",
  noLane: (lane, model) => `${LANE_WORDS[lane]}: the filter by model is about the lane itself here, and ${model} was not in it.`,
  failed: (lane, n) => `${LANE_WORDS[lane]}: ${count(n)} failed; how long a failure takes says nothing of an answer, so they are left out.`,
  newest: "The timeouts that are set are those of the newest of these runs.",
  nothingSet: "Which timeouts are set is not known: the newest run’s question is not kept.",
  table: "Times and timeouts of each lane",
  name: "How long the lanes take",
  lead: "The share of answers there by a time. Lanes that were cut short count for as long as they ran (Kaplan-Meier).",
};

export const VERDICTS = {
  title: "How often both models give the same answer, by class",
  total: "All classes",
  noClass: "no class",
  head: ["Class", "Compared", "Agreed", "95 % interval", "Undecided", "Changed", "95 % interval"],
  legend: { agree: "Agreed", unknown: "Undecided", disagree: "Changed by the slow model" },
  interval: "Bracket: where the share of agreement lies with 95 % confidence",
  more: (n) => `${count(n)} more classes are in the numbers.`,
  none: "No run of these has two answers that were compared. A comparison needs both lanes to complete.",
  judge: "Nobody has said yet which answers were right: PUT /api/experiments/RUN_ID/feedback/fast_correct (and slow_correct) with {\"value\": true}. Then this card knows what taking the fast answer would have cost.",
  changed: "The slow model changed the answer",
  wait: "Wait for the slow answer",
  waitChanged: "Wait where it changed the answer",
  head_start: "Usable head start",
  headNote: "time won by the fast answer where it stood, spread over all compared runs",
  extra: "Price of asking the slow model",
  perChange: "Price of one changed answer",
  perNote: "what the slow lane costs, over the share that it changes",
  regret: "Regret",
  regretNote: "judged runs where the fast answer was wrong and the slow one right",
  reverse: "The reverse",
  reverseNote: "judged runs where the fast answer was right and the slow one wrong",
  trust: "Right when both agreed",
  trustNote: "of the fast answers that were judged",
  name: "Do they agree, and what does the slow one change?",
  lead: "Compared by the final answer itself: a number, a choice, a date, the words. A doubt is undecided, never agreement.",
};

export const TREND = {
  title: { hour: "Median and 95th percentile of both lanes, by hour", day: "Median and 95th percentile of both lanes, by day" },
  axis: { hour: "Hours (UTC)", day: "Days (UTC)" },
  head: ["From (UTC)", "Lane", "Ended", "Cut short", "p50", "p95", "p99"],
  none: "No lane of these runs came so far, so there are no times yet.",
  thin: (n, all, step) => `Fewer than ${FEW} runs in ${count(n)} of ${count(all)} ${step}s: there the 95th percentile is close to the slowest run.`,
  missing: (n, step) => `In ${count(n)} ${step}${n === 1 ? "" : "s"} too many lanes were cut short to know a percentile: the line has a gap.`,
  log: "The scale of times is logarithmic.",
  name: "Times, over time",
  lead: "By when half the answers and 95 % of them were there.",
};

export const MONEY = {
  title: { hour: "Cost of both lanes, by hour", day: "Cost of both lanes, by day" },
  axis: { hour: "Hours (UTC)", day: "Days (UTC)" },
  head: ["From (UTC)", "Runs", "Fast", "Slow", "Together", "Runs of known cost"],
  models: "By pair of models",
  modelHead: ["Fast and slow model", "Runs", "Fast", "Slow", "A run"],
  none: "No run of these was a race, so nothing was spent.",
  unpriced: "What these models cost is not known: local and made-up models have no price. With PRICES_FILE the server learns it; runs from then on are counted.",
  spent: "Spent",
  perRun: "A run, on average",
  perConfirmed: "One confirmed answer",
  perRevised: "One changed answer",
  confirmedNote: "what all runs cost, over those where both models agreed",
  revisedNote: "what all runs cost, over those that the slow model changed",
  share: "A slow lane, on average",
  lanes: (fast, slow) => `fast lanes ${fast}, slow lanes ${slow}`,
  times: (ratio) => `${ratio} times a fast one`,
  of: (n, all) => (n === all ? `over all ${count(all)} runs` : `over the ${count(n)} of ${count(all)} runs whose cost is known`),
  morePairs: (n) => `${count(n)} more pairs of models are not shown; choose one by the filter.`,
  name: "What it costs",
  lead: "Both lanes are paid for in every race, the losing one too. Answers from the cache cost nothing and are not counted.",
};

export const SAVED = {
  title: { hour: "Answers asked anew and answers from the cache, by hour", day: "Answers asked anew and answers from the cache, by day" },
  axis: { hour: "Hours (UTC)", day: "Days (UTC)" },
  head: ["From (UTC)", "Asked anew", "From the cache", "Share"],
  live: "Asked anew",
  cache: "From the cache",
  imported: (n) => `${count(n)} imported runs are in neither.`,
  off: "The cache is off (CACHE=false), so every question is a race.",
  none: "No answer was asked for in this span.",
  noHits: "No answer of these came from the cache. The same question, asked again with “cache”: “use”, would be answered at once.",
  share: "From the cache",
  hits: "Lookups that found something",
  saved: "Not spent again",
  time: "Not waited for again",
  tokens: "Tokens not used again",
  since: "of this server alone, since it began",
  known: "as far as the first run’s cost was known",
  levels: "Levels of the cache",
  levelHead: ["Level", "Answers", "Size", "Hits", "Misses", "State"],
  name: "What the cache saved",
  lead: "An answer that was given before is told again at once, and asks no model.",
};

export const CONTEST = {
  experiment: "Experiment", a: "A", b: "B", metric: "In", part: "Of",
  none: "No experiment of this span has two variants. Ask with the same “experiment” and two values of “variant”, best the same questions under both: then each question is its own comparison.",
  unmeasured: { correct: "Nobody has said yet which of these answers were right: PUT /api/experiments/RUN_ID/feedback/slow_correct with {\"value\": true}.", cost: "What these runs cost is not known." },
  title: (metric, a, b) => `${METRICS[metric]}: ${b} minus ${a}`,
  head: ["Variant", "Runs", "Measured", "Mean", "Median", "Share", "95 % interval"],
  difference: "Difference",
  notes: {
    span: "The span and the class apply here; the filters by model, experiment and variant do not.",
    truncated: "Only the newest 50,000 runs were compared.",
  },
  name: "Two variants against each other",
  lead: "Which of two ways to ask is faster, cheaper or more often right, and how sure that is.",
};

export const TILES = {
  runs: "Runs",
  fast: "Fast answer, half by",
  slow: "Slow answer, half by",
  agree: "Agreed",
  cost: "Cost",
  hits: (n) => (n > 0 ? `and ${count(n)} from the cache` : "none from the cache"),
  of: (n) => (n < FEW ? `of ${count(n)} compared: too few to say` : `of ${count(n)} compared`),
  known: (n, all) => (n === all ? "of all runs" : `${count(all - n)} of ${count(all)} runs are not wholly known`),
  ends: (n, censored) => `n = ${count(n)}${censored > 0 ? `, ${count(censored)} cut short` : ""}`,
};

export const METRICS = { latency: "Time to the end", ttft: "Time to the first token", cost: "Cost", agreement: "Agreement of both models", correct: "Right answers" };
export const PARTS = { run: "Whole run", fast: "Fast lane", slow: "Slow lane" };
