// One run as its reader sees it: every event once and in order, whatever happens to the connections it comes over.

import { ATTEMPTS, FIRST_ATTEMPTS, PATIENCE_S, offline, pause, pauseOf } from "./backoff.js";
import { TandemError } from "./problem.js";

const MOST_UNREAD = 16 << 20; // characters of data that wait for whoever iterates

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The run and the number that an event's id names; -1 for none. */
function placeOf(eventId) {
  const [, runId, seq = -1] = /^(.+):(\d{1,9})$/.exec(eventId) ?? [];
  return [runId, Number(seq)];
}

/**
 * A run, read over connect({run, lastId, signal, opened, take}), one call a connection, until it is over. once: a question
 * whose run is not known yet must not be asked again. world: what cancels and accepts, and the clock.
 */
export function createRun({ runId = null, once, connect, world, options }) {
  const { signal, onEvent, onState, lastEventId = null } = options;
  const stop = new AbortController();
  const unread = [];
  let [, last] = placeOf(lastEventId);
  let lastId = lastEventId; // of what came; run.lastEventId is of what was told
  let size = 0;
  let attempt = 0;
  let iterated = false;
  let ended = false;
  let wake = () => {}; // who iterates and waits for more
  let named;
  let unnamed;
  const id = new Promise((...settle) => ([named, unnamed] = settle));
  const run = {
    id: runId,
    source: null,
    done: null,
    lastEventId,
    finished: Promise.resolve().then(read),
    cancel: async () => world.cancel(await id),
    accept: async () => world.accept(await id),
    [Symbol.asyncIterator]: iterate,
  };

  const tell = (phase, inMs = 0) => onState?.({ phase, attempt, inMs });

  function know(found, source) {
    run.id ??= found ?? null;
    run.source ??= source ?? null;
    if (run.id) named(run.id);
  }

  /** Whether more is wanted of this connection: not behind `done`, nor when an event was skipped or makes no sense. */
  function take(name, eventId, text) {
    const [of, seq] = placeOf(eventId);
    if (seq < 0 || of !== (run.id ?? of)) return false;
    if (seq <= last) return true;
    const data = parsed(text);
    if (seq > last + 1 || !data) return false;
    last = seq;
    lastId = eventId;
    know(of, data.source);
    attempt = 0;
    if (name === "done") run.done = data;
    const event = { name, id: eventId, seq, data, at: world.now() };
    if (onEvent) {
      run.lastEventId = eventId;
      onEvent(event);
    } else {
      unread.push([event, text.length]);
      size += text.length;
      wake();
      if (size > MOST_UNREAD)
        throw new TandemError({ code: "too_much_unread", title: "Nobody reads this run", detail: "Iterate it, or give onEvent.", runId: run.id });
    }
    return !run.done;
  }

  function opened(headers) {
    // Asked again under our own key, the server says that we joined the run that we began.
    const source = run.id || !attempt ? headers.get("x-run-source") : null;
    know(headers.get("x-run-id"), source);
    tell("live");
  }

  /** Whether to come back after this problem. */
  function again({ retryable, retryAfter, status }) {
    if (!retryable || retryAfter > PATIENCE_S) return false;
    if (!run.id) return !once && attempt < FIRST_ATTEMPTS && (!status || attempt > 0);
    return attempt < ATTEMPTS || offline();
  }

  async function follow() {
    stop.signal.throwIfAborted();
    tell("asking");
    for (;;) {
      const problem = await connect({ run, lastId, signal: stop.signal, opened, take });
      stop.signal.throwIfAborted();
      if (!problem) return run.done;
      if (!again(problem)) throw problem;
      attempt += 1;
      const inMs = problem.retryAfter * 1000 + pauseOf(attempt, world.random);
      tell("lost", inMs);
      if (await pause(inMs, world.sleep, stop.signal)) attempt = 0;
      stop.signal.throwIfAborted();
    }
  }

  async function read() {
    const leave = () => stop.abort(signal.reason);
    signal?.addEventListener("abort", leave);
    if (signal?.aborted) leave();
    try {
      return await follow();
    } finally {
      signal?.removeEventListener("abort", leave);
      ended = true;
      wake();
      if (!stop.signal.aborted) tell("over");
    }
  }

  async function* iterate() {
    if (iterated || onEvent) throw new TypeError("A run tells its events once: to onEvent, or to one iteration.");
    iterated = true;
    try {
      while (unread.length || !ended) {
        if (!unread.length) await new Promise((resolve) => (wake = resolve));
        for (const [event, length] of unread.splice(0)) {
          stop.signal.throwIfAborted();
          size -= length;
          run.lastEventId = event.id;
          yield event;
        }
      }
      await run.finished;
    } finally {
      stop.abort(); // who breaks off leaves
    }
  }

  know(runId);
  run.finished.catch(unnamed); // told to who iterates, waits or commands, and is no failure of anybody else's
  id.catch(() => {});
  return run;
}
