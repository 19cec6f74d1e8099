// One run over the network: asks once, and when the connection is lost comes back to the same run, never to a second one.

import { createParser } from "./sse.js";

// Milliseconds before each attempt to come back; any new event starts the row anew.
export const PAUSES = [0, 500, 1000, 2000, 4000, 8000];

const sleepFor = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A refusal as shown to people, from problem+json or from whatever a proxy in between answered. */
export async function problemOf(response) {
  const retryAfter = Number(response.headers.get("retry-after")) || null;
  const base = { status: response.status, code: `http_${response.status}`, title: "The request was refused", retryAfter };
  try {
    const { code, title, detail } = await response.json();
    return { ...base, code: code ?? base.code, title: title ?? base.title, detail: detail ?? "" };
  } catch {
    return { ...base, detail: "The answer to the request carried no explanation." };
  }
}

const unreachable = (detail) => ({ status: null, code: "unreachable", title: "The server cannot be reached", detail });

/** Read a response to its end; true when `done` came by. */
async function drain(response, onWire) {
  let done = false;
  const parser = createParser(({ event, id, data }) => {
    onWire(event, id, data);
    done ||= event === "done";
  });
  const reader = response.body.getReader();
  try {
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      parser.feed(chunk.value);
      if (done) break;
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
  } finally {
    reader.cancel().catch(() => {}); // a stream that already failed says so again
  }
  return done;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Ask, and tell `emit` everything that happens (the events of run.js) until the run is over. Aborting ends it silently. */
export async function follow(body, emit, { signal, fetch = globalThis.fetch, sleep = sleepFor, now = () => performance.now() } = {}) {
  const seen = { runId: null, lastId: null, seq: -1, attempt: 0 };
  const onWire = (name, id, text) => {
    const seq = Number(id.slice(id.lastIndexOf(":") + 1));
    if (seq > seen.seq) Object.assign(seen, { lastId: id, seq, attempt: 0 });
    emit({ type: "wire", name, id, data: parsed(text), at: now() });
  };
  const refused = (problem) => emit({ type: "refused", problem, at: now() });

  const response = await firstResponse(body, { signal, fetch }).catch(rethrowAbort);
  if (!response) return refused(unreachable("Is it running? Start it with “make run” and ask again."));
  if (!response.ok) return refused(await problemOf(response));
  seen.runId = response.headers.get("x-run-id");
  emit({ type: "opened", runId: seen.runId, source: response.headers.get("x-run-source") });
  if (await drain(response, onWire)) return emit({ type: "ended", at: now() });
  seen.runId ??= seen.lastId?.slice(0, seen.lastId.lastIndexOf(":")) ?? null;
  return comeBack(seen, { emit, onWire, refused, signal, fetch, sleep, now });
}

function rethrowAbort(error) {
  if (error.name === "AbortError") throw error;
  return null;
}

const firstResponse = (body, { signal, fetch }) =>
  fetch("/v1/reason", {
    method: "POST",
    headers: { "content-type": "application/json", accept: "text/event-stream" },
    body: JSON.stringify(body),
    signal,
  });

const passing = (status) => status === 409 || status === 429 || status >= 500;

async function comeBack(seen, { emit, onWire, refused, signal, fetch, sleep, now }) {
  while (seen.runId !== null && seen.attempt < PAUSES.length) {
    const pause = PAUSES[seen.attempt];
    seen.attempt += 1;
    emit({ type: "lost", attempt: seen.attempt });
    await sleep(pause);
    signal?.throwIfAborted();
    const headers = seen.lastId === null ? {} : { "last-event-id": seen.lastId };
    const url = `/v1/runs/${encodeURIComponent(seen.runId)}/events`;
    const response = await fetch(url, { headers, signal }).catch(rethrowAbort);
    const done = response?.status === 204 || (response?.ok && (await drain(response, onWire)));
    if (done) return emit({ type: "ended", at: now() });
    if (response && !response.ok && !passing(response.status)) return refused(await problemOf(response));
  }
  const detail = "The connection was lost and did not come back. The run may have ended without you; its record tells.";
  return refused({ ...unreachable(detail), code: "connection_lost", title: "The connection was lost" });
}

/** POST /v1/runs/{id}/cancel or /accept; null when it was taken, else the problem. */
export async function command(runId, verb, fetch = globalThis.fetch) {
  const url = `/v1/runs/${encodeURIComponent(runId)}/${verb}`;
  const response = await fetch(url, { method: "POST" }).catch(() => null);
  if (response === null) return unreachable(`The server did not hear “${verb}”. Try again.`);
  return response.ok ? null : problemOf(response);
}
