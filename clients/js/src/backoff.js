// How long to wait before coming back: full jitter, so that a thousand clients of one server do not come at once.

export const ATTEMPTS = 8; // in a row without a new event
export const FIRST_ATTEMPTS = 3; // of a question that nobody has heard yet
export const PATIENCE_S = 60; // who is told to wait for longer is better told so
const BASE_MS = 250;
const MOST_MS = 8000;

/** Milliseconds before an attempt, counted from 1. */
export const pauseOf = (attempt, random) => random() * Math.min(MOST_MS, BASE_MS * 2 ** attempt);

/** Whether the browser knows that it has no network; a server on this machine may be there all the same. */
export const offline = () => globalThis.navigator?.onLine === false;

/** Resolves after that time, or when the signal aborts. */
export const sleepFor = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => resolve(clearTimeout(timer)), { once: true });
  });

/** Wait; less when the network returns (then true), the page is looked at again, or the signal aborts. */
export async function pause(ms, sleep, signal) {
  const over = new AbortController();
  const woken = new Promise((resolve) => {
    const options = { signal: over.signal };
    globalThis.addEventListener?.("online", () => resolve(true), options);
    globalThis.document?.addEventListener("visibilitychange", () => document.hidden || resolve(false), options);
    signal.addEventListener("abort", () => resolve(false), options);
  });
  try {
    return (await Promise.race([sleep(ms, over.signal), woken])) === true;
  } finally {
    over.abort();
  }
}
