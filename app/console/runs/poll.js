// Looks again every few seconds while somebody can see the page; waits longer after every error.

/** How long to wait before the next look: the pause, doubled by every failure in a row, and never less than was asked for. */
export function pauseAfter(failures, { everyMs, worstMs, retryAfterS = null }) {
  const backOff = Math.min(worstMs, everyMs * 2 ** Math.min(failures, 20));
  return Math.max(backOff, (retryAfterS ?? 0) * 1000);
}

/**
 * look(signal): one look, may reject; told({phase, error, inMs}): `looking`, `waiting`, `failing` or `paused`, so that
 * it can be seen. One look at a time; none while the page is hidden or paused, and one at once when that ends.
 */
export function createPoll({ look, told = () => {}, everyMs, worstMs = 60_000, page = document, timers = globalThis }) {
  let timer = null;
  let aborter = null;
  let failures = 0;
  let paused = false;
  let every = everyMs;
  let asleep = true; // not begun, or not wanted now

  const plan = (error = null) => {
    const inMs = pauseAfter(failures, { everyMs: every, worstMs: Math.max(worstMs, every), retryAfterS: error?.retryAfter ?? null });
    timer = timers.setTimeout(once, inMs);
    told({ phase: error === null ? "waiting" : "failing", error, inMs });
  };

  async function once() {
    rest();
    if (asleep || paused || page.hidden) return;
    const mine = (aborter = new AbortController());
    told({ phase: "looking", error: null, inMs: 0 });
    try {
      await look(mine.signal);
      failures = 0;
      if (!mine.signal.aborted) plan();
    } catch (error) {
      if (mine.signal.aborted) return;
      failures += 1;
      plan(error);
    }
  }

  function rest() {
    timers.clearTimeout(timer);
    timer = null;
    aborter?.abort();
    aborter = null;
  }

  const seen = () => (page.hidden ? rest() : once());
  page.addEventListener("visibilitychange", seen);

  const awake = (then) => () => {
    asleep = false;
    return then();
  };

  return {
    /** Look now, and then every so often. */
    start: awake(once),
    /** The first look was made by somebody else: wait. */
    begin: awake(() => (paused ? undefined : plan())),
    /** From the next look on. */
    setPace(ms) {
      every = ms;
    },
    pause() {
      paused = true;
      rest();
      told({ phase: "paused", error: null, inMs: 0 });
    },
    resume() {
      paused = false;
      failures = 0;
      return once();
    },
    /** No look until it is started again. */
    rest() {
      asleep = true;
      rest();
    },
    get paused() {
      return paused;
    },
    close() {
      asleep = true;
      rest();
      page.removeEventListener("visibilitychange", seen);
    },
  };
}
