// A browser opens six HTTP/1.1 connections to one server over all tabs; a seventh request waits without a word. So that
// a run can still be stopped, five of them may be streams: each live stream of any tab holds one of five locks.

const SLOTS = 5;
const NAME = "tandem-stream-";

/** Whether the page came over a protocol that carries many streams in one connection. */
export function isMultiplexed(performance = globalThis.performance) {
  const protocol = performance.getEntriesByType?.("navigation")[0]?.nextHopProtocol ?? "";
  return protocol === "h2" || protocol === "h3";
}

/** Take a lock at once if it is free; resolves to its release, or null. */
function attempt(locks, name) {
  return new Promise((resolve) => {
    locks
      .request(name, { ifAvailable: true }, (lock) => (lock === null ? resolve(null) : new Promise((release) => resolve(release))))
      .catch(() => resolve(null));
  });
}

/** Wait for the first of the locks to become free. */
async function firstFree(locks, names, signal) {
  const others = new AbortController();
  const leave = () => others.abort();
  signal.addEventListener("abort", leave, { once: true });
  try {
    return await new Promise((resolve, reject) => {
      let taken = false;
      for (const name of names) {
        const held = () => {
          if (taken || others.signal.aborted) return undefined;
          taken = true;
          return new Promise((release) => resolve(release));
        };
        locks.request(name, { signal: others.signal }, held).catch(reject);
      }
    });
  } finally {
    signal.removeEventListener("abort", leave);
    others.abort(); // a lock that is held is not given back by this
  }
}

/**
 * Hold one of the places for a live stream until the function that is returned is called. `onWait` is called when none is
 * free; when the signal aborts first, null is returned: no place is held.
 */
export async function takeSlot({ signal, onWait, locks = globalThis.navigator?.locks, multiplexed = isMultiplexed() }) {
  if (!locks || multiplexed) return () => {};
  const names = Array.from({ length: SLOTS }, (_, i) => `${NAME}${i}`);
  for (const name of names) {
    const release = await attempt(locks, name);
    if (release !== null) return release;
  }
  onWait();
  return firstFree(locks, names, signal).catch(() => null);
}
