// Plays something again in the time it took: how far it is by the clock that is passed in, and which event that is.

/** How many of the rising times are not after `position`. */
export function countUntil(times, position) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= position) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * times: of the events, in milliseconds. show({count, position, phase}) is called whenever one of them changes; phase is
 * `idle`, `playing`, `paused` or `over`. speed: how many times as fast; Infinity shows the end at once.
 */
export function createPlayer(times, { show, now = () => performance.now(), frame = requestAnimationFrame, cancel = cancelAnimationFrame }) {
  const length = times.at(-1) ?? 0;
  const state = { count: times.length, position: length, phase: "idle", speed: 1 };
  let framed = null;
  let since = 0; // of the clock, when the position was last set
  let base = 0; // the position then

  const tell = (changes) => show(Object.assign(state, changes));
  const anchor = (position) => ([since, base] = [now(), position]);

  function tick() {
    framed = null;
    const position = Math.min(length, base + (now() - since) * state.speed);
    if (position >= length) return tell({ position: length, count: times.length, phase: "over" });
    tell({ position, count: countUntil(times, position) });
    framed = frame(tick);
  }

  function rest() {
    if (framed !== null) cancel(framed);
    framed = null;
  }

  function go(position) {
    rest();
    if (state.speed === Infinity) return tell({ position: length, count: times.length, phase: "over" });
    anchor(position);
    state.phase = "playing";
    return tick();
  }

  return {
    state,
    /** From the beginning, or from where it was paused. */
    play: () => go(state.phase === "paused" && state.count < times.length ? state.position : 0),
    pause() {
      if (state.phase !== "playing") return;
      rest();
      tell({ phase: "paused" });
    },
    /** As it was after so many events; it then waits there. */
    seek(count) {
      rest();
      const at = Math.max(1, Math.min(times.length, count));
      tell({ count: at, position: times[at - 1] ?? 0, phase: "paused" });
    },
    setSpeed(speed) {
      const playing = state.phase === "playing";
      state.speed = speed;
      if (playing) go(state.position);
    },
    close: rest,
  };
}
