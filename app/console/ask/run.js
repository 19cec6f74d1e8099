// What is known of one run, as a pure function of what happened: reduce(state, event) -> state.
//
// What happens: ask, queued (no connection is free), opened, wire (an event of the stream), lost, late (no answer yet),
// refused, ended, stopped, notice. An event that may not come now (twice, out of order, of another run, of an unknown
// name) leaves the state as it is. Times (`at`) are milliseconds of one monotonic clock of the page, `*_ms` the server's.

export const LANES = ["fast", "slow"];

const lane = () => ({
  model: null,
  state: "waiting",
  text: "",
  edition: 0, // grows when the text is replaced and not only appended to
  thinking: "",
  firstTokenMs: null,
  end: null,
  usage: null,
  costUsd: undefined,
});

/** Nothing asked yet. phase: idle, asking, live, lost (looking for the stream again), over. body: what was asked, with its options. */
export function initial() {
  return {
    phase: "idle",
    question: "",
    body: null,
    resumed: false,
    hold: null, // why the question has not been answered at all: "queued" or "late"
    runId: null,
    source: null,
    lastId: null,
    seq: -1,
    startedAt: null,
    endedAt: null,
    attempt: 0,
    retryAt: null,
    lanes: { fast: lane(), slow: lane() },
    start: null,
    preliminary: null,
    final: null,
    done: null,
    problem: null,
    notice: null,
    stopped: null, // by whoever reads: "here", or "unheard" where the server could not be told
  };
}

/** Somebody may press Stop. */
export const canStop = (state) => ["asking", "live", "lost"].includes(state.phase);

/** The page reads a run that somebody else's question began: it may leave, and not stop it or take its preliminary. */
export const isGuest = (state) => state.source === "attached";

/** Where the answer comes from: `live`, `cache`, or `attached`. */
export const originOf = (state) => (state.start?.source === "cache" ? "cache" : isGuest(state) ? "attached" : "live");

/** The preliminary is there and the slow lane still runs, so that taking it saves time. */
export const canAccept = (state) =>
  state.phase === "live" && state.preliminary !== null && state.final === null && state.lanes.slow.end === null && !isGuest(state);

/** Milliseconds a lane has run so far, or null before the start and once its end is known. */
export function elapsedMs(state, name, now) {
  if (state.startedAt === null || state.lanes[name].end !== null) return null;
  return Math.max(0, (state.endedAt ?? now) - state.startedAt);
}

const withLane = (state, name, change) => ({
  ...state,
  lanes: { ...state.lanes, [name]: { ...state.lanes[name], ...change } },
});

/** The lane's text made equal to what the server says it is. */
function settled(known, text) {
  if (typeof text !== "string" || text === known.text) return {};
  return { text, edition: known.edition + 1 };
}

function onStart(state, data, at) {
  if (state.start !== null) return state;
  const started = { ...state, start: data, startedAt: at, phase: "live", hold: null, runId: data.run_id ?? state.runId };
  return LANES.reduce((s, name) => withLane(s, name, { model: data.lanes?.[name]?.model ?? null }), started);
}

function onDelta(state, data, at) {
  const known = state.lanes[data.lane];
  const late = known?.end !== null || state.final !== null || (data.lane === "fast" && state.preliminary !== null);
  if (late || typeof data.text !== "string") return state;
  if (data.kind === "thinking") {
    const thinking = known.thinking + data.text;
    return withLane(state, data.lane, { thinking, state: known.state === "answering" ? "answering" : "thinking" });
  }
  const text = known.text + data.text;
  if (known.firstTokenMs !== null || text.trim() === "") return withLane(state, data.lane, { text });
  return withLane(state, data.lane, { text, state: "answering", firstTokenMs: Math.max(0, at - state.startedAt) });
}

function onPreliminary(state, data) {
  const known = state.lanes.fast;
  if (state.preliminary !== null || state.final !== null || known.end !== null) return state;
  const change = { ...settled(known, data.text), firstTokenMs: data.ttft_ms ?? known.firstTokenMs };
  return withLane({ ...state, preliminary: data }, "fast", change);
}

function onLaneEnd(state, data) {
  if (!LANES.includes(data.lane) || state.lanes[data.lane].end !== null) return state;
  return withLane(state, data.lane, {
    end: data,
    state: data.outcome,
    firstTokenMs: data.ttft_ms ?? null,
    usage: data.usage ?? null,
    costUsd: data.cost_usd ?? null,
  });
}

function onFinal(state, data) {
  if (state.final !== null || !LANES.includes(data.lane)) return state;
  return withLane({ ...state, final: data }, data.lane, settled(state.lanes[data.lane], data.text));
}

function onDone(state, data, at) {
  return { ...state, done: data, phase: "over", endedAt: at, notice: null };
}

const WIRE = new Map([
  ["start", onStart],
  ["delta", (state, data, at) => (LANES.includes(data.lane) ? onDelta(state, data, at) : state)],
  ["preliminary", onPreliminary],
  ["lane_end", onLaneEnd],
  ["final", onFinal],
  ["done", onDone],
]);

/** One event of the stream, if it is ours, new and may come now. */
function onWire(state, { name, id, data, at }) {
  const handler = WIRE.get(name);
  const cut = id.lastIndexOf(":");
  const [runId, seq] = [id.slice(0, cut), Number(id.slice(cut + 1))];
  const ours = state.runId === null || state.runId === runId;
  const expected = name === "start" ? state.start === null : state.start !== null;
  const readable = data !== null && typeof data === "object";
  if (!handler || !canStop(state) || !ours || !expected || !readable || cut < 1 || !(seq > state.seq)) return state;
  return handler({ ...state, phase: "live", attempt: 0, retryAt: null, runId, seq, lastId: id }, data, at);
}

const over = (state, problem, at) => ({ ...state, phase: "over", problem, endedAt: at, hold: null, notice: null });

const asked = (state, { question, body = null, runId = null, resumed = false }) =>
  canStop(state) ? state : { ...initial(), phase: "asking", question, body, runId, resumed };

const held = (state, hold) => (state.phase === "asking" && state.start === null ? { ...state, hold } : state);

const HANDLERS = new Map([
  ["ask", asked],
  ["queued", (state) => held(state, "queued")],
  ["freed", (state) => held(state, null)],
  ["late", (state) => held(state, "late")],
  ["opened", (state, { runId, source }) => (canStop(state) && source ? { ...state, runId, source, hold: null } : state)],
  ["wire", onWire],
  ["lost", (state, { attempt, retryAt = null }) => (canStop(state) ? { ...state, phase: "lost", attempt, retryAt } : state)],
  ["refused", (state, { problem, at }) => (canStop(state) ? over(state, problem, at) : state)],
  ["ended", (state, { at }) => (canStop(state) ? { ...state, phase: "over", endedAt: at } : state)],
  ["stopped", (state, { at, unheard = false }) => (canStop(state) ? { ...over(state, null, at), stopped: unheard ? "unheard" : "here" } : state)],
  ["notice", (state, { problem }) => (canStop(state) ? { ...state, notice: problem } : state)],
]);

/** The state after one thing happened. */
export function reduce(state, event) {
  const handler = HANDLERS.get(event.type);
  return handler ? handler(state, event) : state;
}
