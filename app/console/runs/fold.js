// What a run looks like after so many of its events. Pure but for the state, which `apply` changes.

export const LANES = ["fast", "slow"];

const blankLane = (model) => ({
  model,
  state: "waiting",
  role: null,
  text: "",
  edition: 0, // grows when the text is replaced and not only appended to
  thinking: "",
  reason: null,
  message: null,
  ttftMs: null,
  latencyMs: null,
  usage: null,
  costUsd: null,
});

/** Before the first event. models: of each lane, so that they are named from the beginning. */
export function initial(models = {}) {
  const lanes = Object.fromEntries(LANES.map((name) => [name, blankLane(models[name] ?? null)]));
  return { count: 0, lanes, final: null, done: null };
}

function figures(lane, data) {
  Object.assign(lane, {
    ttftMs: data.ttft_ms ?? null,
    latencyMs: data.latency_ms ?? null,
    usage: data.usage ?? null,
    costUsd: data.cost_usd ?? null,
  });
}

/** The text as the server settled it, which need not be what was streamed. */
function settle(lane, text, role) {
  if (!text.startsWith(lane.text)) lane.edition += 1;
  Object.assign(lane, { text, role });
}

const HANDLERS = {
  start(state, data) {
    for (const name of LANES) state.lanes[name].model = data.lanes?.[name]?.model ?? state.lanes[name].model;
  },
  delta(state, { lane, text, kind }) {
    const into = state.lanes[lane];
    if (!into) return;
    into[kind === "thinking" ? "thinking" : "text"] += text;
    if (kind === "thinking" && into.state === "waiting") into.state = "thinking";
    if (kind !== "thinking" && into.text.trim() !== "") into.state = "answering";
  },
  preliminary(state, data) {
    const lane = state.lanes.fast;
    figures(lane, data);
    settle(lane, data.text, "preliminary");
  },
  lane_end(state, data) {
    const lane = state.lanes[data.lane];
    if (!lane) return;
    figures(lane, data);
    Object.assign(lane, { state: data.outcome, reason: data.reason ?? null, message: data.message ?? null });
  },
  final(state, data) {
    state.final = data;
    for (const name of LANES) {
      const lane = state.lanes[name];
      if (name === data.lane) settle(lane, data.text, "final");
      else if (lane.role === "preliminary") lane.role = data.change === "revised" ? "replaced" : "preliminary";
    }
  },
  done(state, data) {
    state.done = data;
  },
};

/** One event more. */
export function apply(state, { name, data }) {
  if (data !== null && typeof data === "object") HANDLERS[name]?.(state, data);
  state.count += 1;
  return state;
}

/** After the first `count` events; goes on from `from` where that is on the way. */
export function fold(events, count, from = null) {
  const state = from !== null && from.count <= count ? from : initial(modelsOf(events));
  for (let i = state.count; i < Math.min(count, events.length); i += 1) apply(state, events[i]);
  return state;
}

const modelsOf = (events) => {
  const lanes = events.find(({ name }) => name === "start")?.data?.lanes ?? {};
  return Object.fromEntries(LANES.map((name) => [name, lanes[name]?.model ?? null]));
};

/** The same picture from the record alone, for a run whose events are no longer kept. */
export function fromRecord(record) {
  const state = initial();
  const texts = record.payload?.texts ?? {};
  for (const name of LANES) {
    const told = record.lanes?.[name];
    const lane = state.lanes[name];
    if (!told) continue;
    figures(lane, told);
    Object.assign(lane, {
      model: told.model,
      state: told.outcome ?? "waiting",
      text: texts[name] ?? "",
      thinking: record.payload?.thinking?.[name] ?? "",
      reason: told.reason,
      message: told.message,
      role: record.final_lane === name ? "final" : null,
    });
  }
  const { fast } = state.lanes;
  if (record.final_lane === "slow" && fast.state === "completed") fast.role = record.change === "revised" ? "replaced" : "preliminary";
  return state;
}
