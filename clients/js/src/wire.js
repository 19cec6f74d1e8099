// The two ways to read a run: fetch, and EventSource. Each gives take(name, id, data) every event until that says false,
// and resolves to null when the run is over, else to the TandemError that ended the connection.

import { TooLarge, createParser } from "./parser.js";
import { TandemError, lost, problemOf } from "./problem.js";

const NAMES = ["start", "delta", "preliminary", "lane_end", "final", "done"];
// The server says something every 15 s; three times that without a word is a connection that died unnoticed.
const SILENCE_MS = 45_000;
const END_MS = 500;

/** One connection by fetch. */
export async function readByFetch([url, init], { run, fetch, signal, opened, take }) {
  const own = new AbortController();
  const leave = () => {
    own.abort();
    reader?.cancel().catch(() => {}); // a stream that has failed already says so again
  };
  const error = (code, title, detail, more) => new TandemError({ code, title, detail, runId: run.id, ...more });
  let timer;
  let heardAt;
  let reader;
  let more = true;
  const heard = () => {
    heardAt = performance.now();
    timer ??= setTimeout(look, SILENCE_MS);
  };
  // One timer, not one for each piece that comes: where more was heard meanwhile it waits for the rest of the time.
  const look = () => {
    const left = heardAt + SILENCE_MS - performance.now();
    if (left > 0) timer = setTimeout(look, left);
    else leave();
  };
  const feed = createParser((...event) => {
    more = more && take(...event);
  });
  signal.addEventListener("abort", leave);
  try {
    if (run.id) heard(); // a new question may stand in the server's line for as long as that allows
    const response = await fetch(url, { ...init, cache: "no-store", signal: own.signal }).catch((failed) => lost(run.id, failed));
    if (response instanceof TandemError) return response;
    heard();
    const { status, headers, body } = response;
    if (status === 204) return null;
    if (status !== 200) return await problemOf(response, run.id);
    reader = body?.getReader();
    if (!/^text\/event-stream/i.test(headers.get("content-type")))
      return error("not_a_stream", "The answer is no event stream", "Something in between has answered.", { status, retryable: true });
    opened(headers);
    while (more) {
      heard();
      const { done, value } = await reader.read().catch(() => ({ done: true }));
      if (done) break;
      feed(value);
    }
    return run.done ? null : lost(run.id);
  } catch (failed) {
    if (failed instanceof TooLarge) return error("event_too_large", "An event is too large", "It has more than 4 MiB.");
    throw failed;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", leave);
    if (run.done && reader) letEnd(reader, leave);
    else leave();
  }
}

/** Behind `done` the server ends the response, and a connection that may end so can be used again. */
function letEnd(reader, leave) {
  const timer = setTimeout(leave, END_MS);
  const ended = ({ done }) => done || leave();
  reader.read().then(ended, leave).finally(() => clearTimeout(timer));
}

/** One connection by EventSource, closed at its first error: left alone it could ask again, and begin a second race. */
export function readByEventSource(source, { run, signal, opened, take }) {
  return new Promise((resolve, reject) => {
    const end = () => {
      source.close();
      signal.removeEventListener("abort", end);
      resolve(run.done ? null : lost(run.id));
    };
    const on = (name, react) =>
      source.addEventListener(name, (event) => {
        try {
          react(event);
        } catch (error) {
          reject(error); // of somebody's callback
          end();
        }
      });
    signal.addEventListener("abort", end);
    on("open", () => opened(new Headers()));
    on("error", end);
    for (const name of NAMES) on(name, ({ lastEventId, data }) => take(name, lastEventId, data) || end());
  });
}
