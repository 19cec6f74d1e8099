// One question from its place among the streams to its end; what happens is told as the events of run.js.

import { takeSlot } from "./slots.js";

const LATE_MS = 6000; // without an answer: something is wrong that people should know of

const now = () => performance.now();

/** What a refusal or an error of the client looks like to run.js. */
const problemFrom = ({ status = null, code = "internal", title, message, detail = "", retryAfter = null }) => ({ status, code, title: title ?? message, detail, retryAfter });

function stateTeller(run, emit) {
  return ({ phase, attempt, inMs }) => {
    if (phase === "live") emit({ type: "opened", runId: run().id, source: run().source });
    if (phase === "lost") emit({ type: "lost", attempt, retryAt: now() + inMs });
  };
}

/**
 * Follow the run that start(options) begins, until it is over. signal ends it silently; hurry is a signal to wait for no place.
 * Returns the client's run by `onRun`, so that it can be stopped.
 */
export async function follow(start, emit, { signal, hurry, onRun }) {
  const release = await takeSlot({ signal: AbortSignal.any([signal, hurry]), onWait: () => emit({ type: "queued" }) });
  if (signal.aborted) return release?.();
  emit({ type: "freed" });
  const late = setTimeout(() => emit({ type: "late" }), LATE_MS);
  let run = null;
  const tell = stateTeller(() => run, emit);
  try {
    run = start({
      signal,
      onEvent: ({ name, id, data, at }) => emit({ type: "wire", name, id, data, at }),
      onState(state) {
        if (state.phase !== "asking") clearTimeout(late);
        tell(state);
      },
    });
    onRun(run);
    await run.finished;
    emit({ type: "ended", at: now() });
  } catch (error) {
    if (error.name !== "AbortError" && !signal.aborted) emit({ type: "refused", problem: problemFrom(error), at: now() });
  } finally {
    clearTimeout(late);
    release?.();
  }
  return undefined;
}
