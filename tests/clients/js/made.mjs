// Answers made by hand, for what a real server does only when it is ill, and a client that gets them in turn.
import { createClient } from "../../../clients/js/src/tandem.js";

export const frame = (seq, name, data = {}, run = "r") => `event: ${name}\nid: ${run}:${seq}\ndata: ${JSON.stringify(data)}\n\n`;
export const START = frame(0, "start", { run_id: "r", source: "live" });

/** A response whose body is these pieces, then ends, breaks when the last piece is an Error, or hangs when it is null. */
export function streaming(pieces, headers = { "x-run-id": "r", "x-run-source": "live" }) {
  const left = [...pieces];
  const pull = (controller) => {
    const piece = left.shift();
    if (piece === undefined) controller.close();
    else if (piece === null) return new Promise(() => {});
    else if (piece instanceof Error) controller.error(piece);
    else controller.enqueue(new TextEncoder().encode(piece));
    return undefined;
  };
  return new Response(new ReadableStream({ pull }), { headers: { "content-type": "text/event-stream", ...headers } });
}

export const problem = (status, code, headers = {}) => new Response(JSON.stringify({ code, title: "No", detail: "Because." }), { status, headers });

export const broken = () => {
  throw new TypeError("network error");
};

/** A client against these answers in turn, the last one for ever; calls and pauses tell what it did. */
export function against(answers, options = {}) {
  const calls = [];
  const pauses = [];
  const fetch = async (url, init) => {
    calls.push({ method: init.method ?? "GET", path: url.slice("http://h".length), headers: init.headers, body: init.body, signal: init.signal });
    const answer = answers[Math.min(calls.length, answers.length) - 1];
    return typeof answer === "function" ? answer(init) : answer;
  };
  const sleep = async (ms) => void pauses.push(ms);
  return { client: createClient({ baseUrl: "http://h", fetch, sleep, random: () => 1, now: () => 1, ...options }), calls, pauses };
}

/** Everything that a run told, and how it ended. */
export async function ending(run) {
  const events = [];
  try {
    for await (const event of run) events.push(event);
    return { events, names: events.map(({ name }) => name), error: null };
  } catch (error) {
    return { events, names: events.map(({ name }) => name), error };
  }
}
