// Where the ticks of an axis go and what they say; pure. Times in milliseconds, moments in milliseconds since the epoch, in UTC.

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** What people count times in; below a second it is decimal. */
const TIMES = [1, 2, 5, 10, 15, 30].map((s) => s * SECOND).concat([1, 2, 5, 10, 15, 30].map((m) => m * MINUTE), [1, 2, 6, 12, 24].map((h) => h * HOUR));
const MOMENTS = [1, 5, 15, 30].map((m) => m * MINUTE).concat([1, 2, 3, 6, 12].map((h) => h * HOUR), [1, 2, 7, 14, 28, 91, 182, 364].map((d) => d * DAY));
const LOG_TIMES = [2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600].map((s) => s * SECOND);
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The smallest of 1, 2 and 5 times a power of ten that is at least this. */
export function nice(step) {
  const power = 10 ** Math.floor(Math.log10(step));
  const found = [1, 2, 5].find((factor) => factor * power >= step * (1 - 1e-9));
  return (found ?? 10) * power;
}

function stepOf(rough, kind) {
  if (kind === "date") return MOMENTS.find((step) => step >= rough) ?? nice(rough / DAY) * DAY;
  if (kind === "ms" && rough > SECOND / 2) return TIMES.find((step) => step >= rough) ?? nice(rough / DAY) * DAY;
  return kind === "count" ? Math.max(1, nice(rough)) : nice(rough);
}

/** The ends of an axis whose values are all one. */
function widened(low, high) {
  if (high > low) return [low, high];
  return low === 0 ? [0, 1] : [Math.min(low * 0.5, low * 1.5), Math.max(low * 0.5, low * 1.5)];
}

/** Round values within low and high, about as many as wanted; always at least one when the span is not empty. */
export function ticks(low, high, { kind = "count", count = 5, log = false } = {}) {
  const [from, to] = widened(low, high);
  if (log && from > 0) return logTicks(from, to, kind, count);
  const step = stepOf((to - from) / Math.max(1, count), kind);
  const found = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9 && found.length < 100; i++) found.push(Number((i * step).toPrecision(12)));
  return found.length > 1 ? found : [from, to];
}

function logTicks(from, to, kind, count) {
  const fits = (value) => value >= from * (1 - 1e-9) && value <= to * (1 + 1e-9);
  const powers = [];
  for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power++) powers.push(power);
  const finer = [[1], [1, 3], [1, 2, 5]].map((factors) => powers.flatMap((power) => factors.map((factor) => Number((factor * 10 ** power).toPrecision(3)))));
  const tries = kind === "ms" ? finer.map((all, i) => all.filter((v) => v <= SECOND).concat(i === 0 ? [10 * SECOND, 60 * SECOND, 600 * SECOND] : LOG_TIMES)) : finer;
  const found = tries.map((all) => all.filter(fits)).filter((all) => all.length > 1);
  return found.reverse().find((all) => all.length <= count + 1) ?? found.at(-1) ?? [from, to];
}

/** The span of an axis that holds these values, its ends rounded outwards to where a tick may stand. */
export function bounds(values, { kind = "count", zero = false, log = false } = {}) {
  const known = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  if (known.length === 0) return log ? [1, 10] : [0, 1];
  const ends = zero && !log ? [...known, 0] : known;
  const [low, high] = widened(Math.min(...ends), Math.max(...ends));
  if (log) return [floorLog(low), ceilLog(high)];
  if (kind === "date") return [low, high];
  const step = stepOf((high - low) / 5, kind);
  return [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step].map((value) => Number(value.toPrecision(12)));
}

const LOG_STOPS = [1, 2, 3, 5, 7, 10];
const ceilLog = (value) => LOG_STOPS.map((f) => f * 10 ** Math.floor(Math.log10(value))).find((stop) => stop >= value * (1 - 1e-9));
const floorLog = (value) => LOG_STOPS.map((f) => f * 10 ** Math.floor(Math.log10(value))).findLast((stop) => stop <= value * (1 + 1e-9));

/** A function from values to places; a log scale takes no value of 0 or less, and puts it at the low end. */
export function scale([low, high], [start, end], { log = false } = {}) {
  const on = log ? (value) => Math.log(Math.max(value, low)) : (value) => value;
  const span = on(high) - on(low);
  return (value) => start + (span === 0 ? 0.5 : (on(value) - on(low)) / span) * (end - start);
}

/** Whether values so far apart are better read on a logarithmic axis. */
export function spread(values, factor = 20) {
  const known = values.filter((value) => Number.isFinite(value) && value > 0);
  return known.length > 1 && Math.max(...known) / Math.min(...known) > factor;
}

const plain = (value, digits = 3) => String(Number(value.toPrecision(digits)));

function duration(ms) {
  if (ms === 0) return "0";
  if (ms < SECOND) return `${plain(ms)} ms`;
  if (ms < MINUTE) return `${plain(ms / SECOND)} s`;
  if (ms < HOUR) return `${plain(ms / MINUTE)} min`;
  return `${plain(ms / HOUR)} h`;
}

function dollars(usd) {
  if (usd === 0) return "$0";
  if (usd >= 1000) return `$${count(usd)}`;
  if (usd >= 1) return `$${usd.toFixed(Number.isInteger(usd) ? 0 : 2)}`;
  return `$${Number(usd.toFixed(Math.min(9, 1 - Math.floor(Math.log10(usd)))))}`;
}

function count(value) {
  if (value >= 1e6) return `${plain(value / 1e6)} M`;
  return value >= 1e4 ? `${plain(value / 1e3)} k` : plain(value, 4);
}

function moment(at, step) {
  const date = new Date(at);
  const [hour, minute] = [date.getUTCHours(), date.getUTCMinutes()].map((part) => String(part).padStart(2, "0"));
  const day = `${MONTHS[date.getUTCMonth()]} ${date.getUTCDate()}`;
  if (step >= 300 * DAY) return `${MONTHS[date.getUTCMonth()]} ${date.getUTCFullYear()}`;
  return step >= DAY || (at % DAY === 0 && step >= HOUR) ? day : `${hour}:${minute}`;
}

/** What a tick says; step: how far its neighbour is, which tells a day from an hour. */
export function label(value, kind = "count", step = 0) {
  const words = { ms: duration, usd: dollars, share: (x) => `${plain(x * 100)} %`, count };
  if (kind === "date") return moment(value, step);
  return value < 0 ? `−${words[kind](-value)}` : words[kind](value);
}
