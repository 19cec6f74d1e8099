// What the server tells of itself, as rows to show. Pure.

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** Whether a word for a state is a good one, a bad one, or says that the part is not used. */
export function toneOf(status) {
  if (status === "ok" || status === "completed" || status === "closed") return "good";
  if (status === "off" || status === null || status === undefined) return "none";
  return "bad";
}

function errorOf(error) {
  if (!error) return null;
  return { at: error.at ?? null, text: [error.reason, error.message].filter(Boolean).join(": ") || "?" };
}

function row(name, part, depth) {
  return {
    name,
    depth,
    status: part.status ?? part.outcome ?? null,
    latencyMs: part.latency_ms ?? null,
    lateP99Ms: part.late_p99_ms ?? null,
    model: part.model ?? null,
    error: errorOf(part.last_error) ?? (part.why ? { at: null, text: part.why } : null),
  };
}

/** The parts as rows: a lane or a level of the cache below the part that it belongs to. */
export function partRows(parts) {
  return Object.entries(parts).flatMap(([name, part]) => {
    const inner = { ...part.levels, ...Object.fromEntries(["fast", "slow"].filter((lane) => isObject(part[lane])).map((lane) => [lane, part[lane]])) };
    return [row(name, part, 0), ...Object.entries(inner).map(([own, one]) => row(own, one, 1))];
  });
}

/** The same from the checks alone, which is all that some may see. */
export const checkRows = (checks) => Object.entries(checks).map(([name, status]) => row(name, { status }, 0));

const PLACES = ["stored", "duplicate", "dead_lettered", "logged", "spooled", "in_flight"];

/** Where every accepted record is, and by how many the books are out. */
export function balanceOf(ledger) {
  const placed = PLACES.map((name) => ledger[name] ?? 0).reduce((sum, n) => sum + n, 0);
  return { places: PLACES.map((name) => [name, ledger[name] ?? 0]), accepted: ledger.accepted, out: ledger.accepted - placed };
}

/** A limit with how much of it is used. */
export function limitRows(limits) {
  return limits.map(({ scope, limit, most, left, spent, reserved }) => {
    const used = spent === undefined ? most - left : spent + (reserved ?? 0);
    return { scope, name: limit.replaceAll("_", " "), money: limit.startsWith("usd"), most, left, used, share: most > 0 ? Math.min(1, used / most) : 1 };
  });
}

const laneOf = (key) => ({ lane: key.slice(0, key.indexOf(" ")), model: key.slice(key.indexOf(" ") + 1) });

/** Percentiles of one span as rows: whole runs, then both times of every lane. */
export function timeRows(span) {
  const runs = Object.entries(span.runs?.latency_ms ?? {}).map(([source, times]) => ({ kind: "run", source, model: null, times }));
  const lanes = Object.entries(span.lanes ?? {}).flatMap(([key, told]) => {
    const of = laneOf(key);
    return [
      { kind: "first", ...of, times: told.first_token_ms },
      { kind: "total", ...of, times: told.total_ms },
    ];
  });
  return [...runs, ...lanes].filter(({ times }) => times?.n > 0);
}

/** Routes of one span, the most asked first. */
export const routeRows = (span) => Object.entries(span.requests?.routes ?? {}).sort(([, a], [, b]) => b.n - a.n);

/** 73523200 is 70.1 MiB. */
export function bytes(value) {
  if (typeof value !== "number") return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(value) / 10));
  return `${Number((value / 1024 ** power).toPrecision(3))} ${units[power]}`;
}

/** Seconds as people say them: 42 s, 3 min, 5 h, 2 days. */
export function age(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}
