// How often a page may look by itself without using up what its reader may ask: every request counts against their limits.

const SPANS_S = { minute: 60, hour: 3600, day: 86_400 };
const SHARE = 1 / 3; // of what is allowed, and of what is left of it

/** The pause between two looks of so many requests each, in milliseconds; everyMs where nothing is limited. */
export function paceOf(limits, { everyMs, requests }) {
  const pauses = limits.map(({ limit, most, left }) => {
    const span = SPANS_S[/^requests_per_(\w+)$/.exec(limit)?.[1]];
    if (span === undefined) return 0;
    const ours = Math.min(most, left * 2) * SHARE; // as soon as half is used up, ever slower
    return (1000 * span * requests) / Math.max(ours, requests);
  });
  return Math.max(everyMs, ...pauses);
}
