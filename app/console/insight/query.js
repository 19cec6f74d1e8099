// What the address of the page says is shown, and what the server is asked for it; pure.

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** How far back; null: everything there is. */
export const SPANS = { "1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, all: null };
export const LABELS = ["experiment", "variant", "prompt_class", "model"];
const CONTEST = ["of", "a", "b", "metric", "part"];
const DEFAULTS = { span: "24h", time: "total" };
const KNOWN = { span: Object.keys(SPANS), time: ["total", "first_token"] };
const BY_HOUR_MAX = 3 * DAY; // as the server has it
const LONGEST = 200; // characters of a label

/** The filters that the parameters of a hash name; what is not understood is left at its default. */
export function filtersOf(params) {
  const found = { ...DEFAULTS };
  for (const name of [...Object.keys(KNOWN), ...LABELS, ...CONTEST]) {
    const value = params.get(name)?.slice(0, LONGEST);
    if (value && (KNOWN[name]?.includes(value) ?? true)) found[name] = value;
  }
  return found;
}

/** The hash of these filters, the same for the same filters, without what is as it is anyway. */
export function hashOf(filters) {
  const names = [...Object.keys(KNOWN), ...LABELS, ...CONTEST].filter((name) => filters[name] && filters[name] !== DEFAULTS[name]);
  const query = new URLSearchParams(names.map((name) => [name, filters[name]]));
  return query.size ? `#/insight?${query}` : "#/insight";
}

/** The filters as parameters of the server, from this moment backwards. */
export function selectionOf(filters, now) {
  const labels = Object.fromEntries(LABELS.filter((name) => filters[name]).map((name) => [name, filters[name]]));
  return { ...spanOf(filters, now), ...labels };
}

/** The span alone. */
export function spanOf(filters, now) {
  const long = SPANS[filters.span];
  return long === null ? {} : { since: new Date(now - long).toISOString() };
}

/** By which step of time the server counts: hours as far as it does so, else days. */
export function stepOf(filters) {
  const long = SPANS[filters.span];
  return long !== null && long <= BY_HOUR_MAX ? "hour" : "day";
}

export const STEPS = { hour: HOUR, day: DAY };

/** Whether anything but the span narrows what is shown. */
export const narrowed = (filters) => LABELS.some((name) => filters[name]);

/** Groups by time as points, in order, each with whether one or more steps before it are missing. */
export function inTime(groups, step) {
  const long = STEPS[step];
  const points = groups.map((group) => ({ x: Date.parse(group.key[step]), group })).toSorted((p, q) => p.x - q.x);
  return points.map((point, i) => ({ ...point, after: i > 0 && point.x - points[i - 1].x > long * 1.5 }));
}

/** The axis of time for these points: whole steps, at least three of them so that one bar is no wall. */
export function timeAxis(points, step, now) {
  const long = STEPS[step];
  const first = Math.min(points[0]?.x ?? now, now);
  const last = Math.max(points.at(-1)?.x ?? now, Math.floor(now / long) * long) + long;
  const low = Math.min(first, last - 3 * long);
  return { kind: "date", low, high: last, step: long };
}
