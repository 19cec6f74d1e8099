// Tandem's client: ask, watch both lanes, and come back to the same run when the connection is lost.

import { sleepFor } from "./backoff.js";
import { TandemError, jsonOf, lost, problemOf } from "./problem.js";
import { createRun } from "./run.js";
import { readByEventSource, readByFetch } from "./wire.js";

export { TandemError };

const COMMAND_MS = 30_000;
// What may stand in an address; everything else of a question travels in a body.
const SCALARS = ["input", "policy", "deadline_s", "cache", "replay", "on_disconnect", "experiment", "variant", "prompt_class"];

/** crypto.randomUUID is missing in a page that came over plain HTTP from another machine. */
const newKey = () => crypto.randomUUID?.() ?? crypto.getRandomValues(new Uint32Array(4)).join("-");

const questionOf = (body) => (typeof body === "string" ? { input: body } : body);

/** A client of one server. */
export function createClient({
  baseUrl = "",
  headers,
  fetch: given = globalThis.fetch,
  EventSource = globalThis.EventSource,
  sleep = sleepFor,
  random = Math.random,
  now = () => performance.now(),
} = {}) {
  // Addresses are written down, by servers and in errors.
  if (/[?#]|\/\/[^/]*@/.test(baseUrl)) throw new TypeError("baseUrl has a query, a fragment or a password: a key goes into headers.");
  if (!baseUrl && !globalThis.location) throw new TypeError("Outside a page baseUrl is needed.");
  const url = (path = "/") => baseUrl.replace(/\/+$/, "") + path;
  const urlOf = (runId, rest = "") => url(`/v1/runs/${encodeURIComponent(runId)}${rest}`);
  const fetch = async (...request) => given(...request); // whatever it throws is a rejection

  /** The headers of a request. What is wrong with one is not repeated: it may be the key. */
  function headersWith(ours) {
    try {
      const all = new Headers(headers);
      for (const name in ours) all.set(name, ours[name]);
      return all;
    } catch {
      throw new TypeError("A header has a character that no header may have.");
    }
  }

  /** One connection to the rest of a run. */
  function rest(parts) {
    const seen = parts.lastId ? { "last-event-id": parts.lastId } : {};
    return readByFetch([urlOf(parts.run.id, "/events"), { headers: headersWith(seen) }], { ...parts, fetch });
  }

  /** Ask. A connection that gave no answer is tried again under the same idempotency key, which begins no second race. */
  function ask(body, options = {}) {
    const own = { "content-type": "application/json", accept: "text/event-stream", "idempotency-key": options.idempotencyKey ?? newKey() };
    const init = { method: "POST", headers: headersWith(own), body: JSON.stringify({ ...questionOf(body), stream: true }) };
    const connect = (parts) => (parts.run.id ? rest(parts) : readByFetch([url("/v1/reason"), init], { ...parts, fetch }));
    return createRun({ connect, world, options: { ...options, lastEventId: null } });
  }

  /** Read a run from behind an event, or from its beginning. */
  const resume = (runId, options = {}) => createRun({ runId, connect: rest, world, options });

  /** Ask, or read a run, over an EventSource; when that is lost, fetch comes back to the run, as it can tell a refusal. */
  function watch(body, options = {}) {
    if (headers) throw new TypeError("An EventSource sends no headers. Open a session (POST /v1/session), or use ask().");
    if (!EventSource) throw new TypeError("There is no EventSource here. Give createClient one, or use ask().");
    const { runId, ...question } = questionOf(body);
    const wrong = Object.keys(question).filter((name) => !SCALARS.includes(name));
    if (wrong.length) throw new TypeError(`An address cannot have ${wrong.join(", ")}. Use ask().`);
    if (runId && options.lastEventId) question.last_event_id = options.lastEventId;
    const address = `${runId ? urlOf(runId, "/events") : url("/v1/reason")}?${new URLSearchParams(question)}`;
    let connect = (parts) => {
      connect = rest;
      return readByEventSource(new EventSource(address), parts);
    };
    return createRun({ runId, once: true, connect: (parts) => connect(parts), world, options });
  }

  async function call(method, address, runId) {
    const init = { method, headers: headersWith(), cache: "no-store", signal: AbortSignal.timeout(COMMAND_MS) };
    const response = await fetch(address, init).catch((failed) => lost(null, failed));
    if (response instanceof TandemError) throw response;
    if (!response.ok) throw await problemOf(response, runId);
    return jsonOf(response);
  }

  headersWith(); // one that cannot be sent is told at once
  const cancel = (runId) => call("POST", urlOf(runId, "/cancel"), runId);
  const accept = (runId) => call("POST", urlOf(runId, "/accept"), runId);
  const run = (runId) => call("GET", urlOf(runId), runId);
  const world = { cancel, accept, sleep, random, now };
  return { ask, watch, resume, cancel, accept, run, url };
}
