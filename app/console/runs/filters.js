// The filters of the list: as the address has them, as the form shows them, as the API wants them. Their names are the API's.

export const FILTERS = [
  "status",
  "agreement",
  "model",
  "source",
  "experiment",
  "variant",
  "prompt_class",
  "tag",
  "outcome",
  "min_latency_ms",
  "since",
  "until",
];

export const CHOICES = {
  status: ["running", "completed", "partial", "timeout", "failed", "cancelled", "shutdown"],
  agreement: ["agree", "disagree", "unknown"],
  source: ["live", "cache", "import"],
  outcome: ["completed", "timeout", "failed", "incomplete", "empty", "cancelled", "refused"],
};

export const PAGE = 25;
const PAGE_MAX = 50; // what the API gives with the questions

/** What the address asks for; whatever is no filter of ours is left out. */
export function readFilters(params) {
  const given = FILTERS.map((name) => [name, (params.get(name) ?? "").trim()]);
  return Object.fromEntries(given.filter(([, value]) => value !== ""));
}

/** How many rows a page has. */
export function readLimit(params) {
  const wanted = Number(params.get("limit"));
  return Number.isInteger(wanted) && wanted >= 1 ? Math.min(wanted, PAGE_MAX) : PAGE;
}

const textOf = (params) => (params.size > 0 ? `?${params}` : "");

/** The address of the list under these filters. */
export function hashOf(filters, limit = PAGE) {
  return `#/runs${textOf(new URLSearchParams({ ...filters, ...(limit === PAGE ? {} : { limit }) }))}`;
}

/** Where the same records can be downloaded. */
export const exportPath = (filters, format) => `/api/experiments/export?${new URLSearchParams({ format, ...filters })}`;

const two = (number) => String(number).padStart(2, "0");

/** A moment as an input of the type datetime-local has it; empty when it is none. */
export function localMoment(text) {
  const at = new Date(text ?? "");
  if (Number.isNaN(at.getTime())) return "";
  const day = `${String(at.getFullYear()).padStart(4, "0")}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** The other way round, in UTC, so that a shared address means the same everywhere. */
export function utcMoment(local) {
  const at = new Date(local);
  return Number.isNaN(at.getTime()) ? "" : at.toISOString().replace(".000Z", "Z");
}

/** Seconds as people type them, and the milliseconds of the API. */
export const secondsOf = (ms) => (ms === undefined || Number.isNaN(Number(ms)) ? "" : String(Number(ms) / 1000));
export const millisecondsOf = (seconds) => (seconds === "" || !(Number(seconds) >= 0) ? "" : String(Math.round(Number(seconds) * 1000)));
