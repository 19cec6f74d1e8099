// The run that is live in this tab, kept over a reload: in sessionStorage, and only by the tab that holds the run's lock,
// so that a tab which the browser has made a copy of does not take the run over.

const KEY = "tandem.live";
const PATIENCE_MS = 3000; // for the lock of the page that was here before the reload

// What a browser that keeps no site data throws an error for is asked for only where that is caught.
const session = {
  getItem: (key) => globalThis.sessionStorage.getItem(key),
  setItem: (key, text) => globalThis.sessionStorage.setItem(key, text),
  removeItem: (key) => globalThis.sessionStorage.removeItem(key),
};

const lockName = (token) => `tandem-live-${token}`;

/** A token that no other tab has. */
const newToken = () => globalThis.crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

function read(storage) {
  try {
    const kept = JSON.parse(storage.getItem(KEY));
    return typeof kept?.token === "string" && typeof kept.body?.input === "string" ? kept : null;
  } catch {
    return null;
  }
}

function wipe(storage) {
  try {
    storage.removeItem(KEY);
  } catch {
    // forbidden: nothing is in it
  }
}

function hold(locks, token, signal) {
  return new Promise((resolve) => {
    if (!locks) return resolve(() => {});
    const held = () => new Promise((release) => resolve(release));
    return locks.request(lockName(token), { signal }, held).catch(() => resolve(null));
  });
}

/** begin(body) writes a run down, forget() ends it, recall() gives the run of before the reload, or null. caller: who asks. */
export function createKeep({ caller = null, storage = session, locks = globalThis.navigator?.locks, patienceMs = PATIENCE_MS } = {}) {
  let kept = null;
  let release = null;

  function write() {
    try {
      storage.setItem(KEY, JSON.stringify(kept));
    } catch {
      // full, or forbidden: a reload begins with an empty page
    }
  }

  return {
    /** A question that is being asked; the token is its idempotency key, so that a reload before the answer asks it once. */
    begin(body) {
      kept = { token: newToken(), caller, body, runId: null, source: null };
      write();
      hold(locks, kept.token).then((given) => (release = given));
      return kept.token;
    },
    /** The run is known by now. */
    know(runId, source) {
      if (kept === null || (kept.runId === runId && kept.source === source)) return;
      Object.assign(kept, { runId, source });
      write();
    },
    forget() {
      kept = null;
      wipe(storage);
      release?.();
      release = null;
    },
    async recall() {
      const found = read(storage);
      if (found === null) return null;
      if (found.caller !== caller) {
        wipe(storage); // of whoever was signed in here before
        return null;
      }
      const given = await hold(locks, found.token, AbortSignal.timeout(patienceMs));
      if (kept !== null || given === null) {
        given?.();
        if (kept === null) wipe(storage); // another tab reads it; else another question was asked meanwhile
        return null;
      }
      [release, kept] = [given, found];
      return found;
    },
  };
}
