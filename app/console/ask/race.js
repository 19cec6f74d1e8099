// The run as a race: what happened to each lane and when, in milliseconds from the start. Pure; timeline.js draws it.

import { LANES, elapsedMs } from "./run.js";

const known = (ms) => typeof ms === "number" && Number.isFinite(ms);
const ROOM = 1.04; // behind the last thing that happened
const STEPS = [1, 2, 5, 10];

/** Limits that were chosen for this run, or that the server told. */
function limitsOf(state) {
  const chosen = LANES.map((lane) => ({ lane, ms: state.body?.[lane]?.timeout_s * 1000 }));
  const timers = LANES.map((lane) => ({ lane, end: state.lanes[lane].end })).filter(({ end }) => end?.outcome === "timeout");
  const struck = timers.map(({ lane, end }) => ({ lane, ms: end.latency_ms }));
  return [...chosen, ...struck, { lane: null, ms: state.start?.deadline_ms }].filter(({ ms }) => known(ms));
}

function laneOf(state, name, now) {
  const lane = state.lanes[name];
  const running = elapsedMs(state, name, now);
  return { first: lane.firstTokenMs, end: lane.end ? lane.end.latency_ms : running, ended: lane.end !== null, outcome: lane.end?.outcome ?? null };
}

/** The facts, or null before the start. limits: only those within sight of what happened. */
export function raceOf(state, now) {
  if (state.start === null) return null;
  const lanes = Object.fromEntries(LANES.map((name) => [name, laneOf(state, name, now)]));
  const times = LANES.flatMap((name) => [lanes[name].first, lanes[name].end]).filter(known);
  const last = Math.max(1, ...times);
  const limits = limitsOf(state).filter(({ ms }) => ms <= last * 1.3);
  const span = Math.max(last, ...limits.map(({ ms }) => ms)) * ROOM;
  const preliminary = state.preliminary && known(state.preliminary.latency_ms) ? state.preliminary.latency_ms : null;
  const final = state.final ? { lane: state.final.lane, ms: lanes[state.final.lane].end } : null;
  return { span, lanes, limits, preliminary, final, cached: state.start.source === "cache" };
}

/** Round times within a span, about as many as asked for. */
export function ticksOf(span, about = 5) {
  const rough = span / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = STEPS.map((factor) => factor * power).find((size) => size >= rough);
  return Array.from({ length: Math.floor(span / step) + 1 }, (_, i) => i * step);
}
