// The pure parts around the Ask page: choices, places for streams, the run that outlives a reload, routes, the API.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createApi } from "../../app/console/api.js";
import { askedBefore } from "../../app/console/ask/again.js";
import { createKeep } from "../../app/console/ask/keep.js";
import { bodyOf, readable } from "../../app/console/ask/options.js";
import { takeSlot } from "../../app/console/ask/slots.js";
import { parseRoute } from "../../app/console/shell.js";

/** The locks of a browser, as far as they are used here. */
function locksOf() {
  const held = new Map();
  const request = async (name, options, act) => {
    while (held.has(name)) {
      if (options.ifAvailable) return act(null);
      const aborted = new Promise((_, reject) => options.signal?.addEventListener("abort", () => reject(options.signal.reason)));
      await Promise.race([held.get(name), aborted]);
    }
    const kept = Promise.resolve(act({ name })).finally(() => held.delete(name));
    held.set(name, kept);
    return kept;
  };
  return { request, held };
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));
const slot = (locks, parts = {}) => takeSlot({ signal: new AbortController().signal, onWait: () => {}, locks, multiplexed: false, ...parts });

test("Choices that were not made are not sent.", () => {
  assert.deepEqual(bodyOf({}), {});
  assert.deepEqual(bodyOf({ fast: "a:b", slowTimeout: "9", deadline: "1.5", cache: "off" }), { fast: { model: "a:b" }, slow: { timeout_s: 9 }, deadline_s: 1.5, cache: "off" });
});

test("What was remembered and is no choice is dropped.", () => {
  assert.deepEqual(readable({ policy: "toss", cache: "use", fastTimeout: "-1", slowTimeout: "x", fast: " m ", other: 1, slow: 5 }), { cache: "use", fast: "m" });
  assert.deepEqual([readable(null), readable("x")], [{}, {}]);
});

test("Five streams are let through, the sixth waits and says so, and goes on when one ends.", async () => {
  const locks = locksOf();
  const releases = await Promise.all([1, 2, 3, 4, 5].map(() => slot(locks)));
  let waited = 0;
  const sixth = slot(locks, { onWait: () => (waited += 1) });
  await turn();
  assert.equal(waited, 1);
  releases[2]();
  assert.equal(typeof (await sixth), "function");
});

test("Who gives up waiting takes no place, and over HTTP/2 nobody waits.", async () => {
  const locks = locksOf();
  const releases = await Promise.all([1, 2, 3, 4, 5].map(() => slot(locks)));
  const leaving = new AbortController();
  const left = slot(locks, { signal: leaving.signal });
  await turn();
  leaving.abort();
  assert.equal(await left, null);
  assert.equal(typeof (await slot(locks, { multiplexed: true })), "function");
  for (const release of releases) release();
  await turn();
  assert.equal(locks.held.size, 0);
});

function storageOf(text = null) {
  return { text, getItem: () => text, setItem: (_, value) => (text = value), removeItem: () => (text = null) };
}

test("A run is remembered while it is live, and recalled with the key of its question.", async () => {
  const storage = storageOf();
  const before = createKeep({ storage, locks: null });
  const token = before.begin({ input: "why?" });
  before.know("r", "live");
  const found = await createKeep({ storage, locks: null }).recall();
  assert.deepEqual([found.token, found.runId, found.body], [token, "r", { input: "why?" }]);
  before.forget();
  assert.equal(await createKeep({ storage, locks: null }).recall(), null);
});

test("A copy of the tab does not take over the run that the tab reads.", async () => {
  const locks = locksOf();
  const storage = storageOf();
  createKeep({ storage, locks }).begin({ input: "why?" });
  const awake = setInterval(() => {}, 50); // node does not wait for the time of a signal
  assert.equal(await createKeep({ storage: storageOf(storage.getItem()), locks, patienceMs: 20 }).recall(), null);
  clearInterval(awake);
});

test("A run of whoever was signed in before is not come back to.", async () => {
  const storage = storageOf();
  createKeep({ caller: "alice", storage, locks: null }).begin({ input: "why?" });
  assert.equal(await createKeep({ caller: "bob", storage, locks: null }).recall(), null);
  assert.equal(storage.getItem(), null);
});

test("A question is asked again as its record has it, and what is missing of it is said.", () => {
  const record = (content, ...asked) => ({ content, payload: { messages: asked.map((content) => ({ role: "user", content })) } });
  const { text, note } = askedBefore(record({ mode: "redacted", cut: ["messages.1"] }, "first", "then"));
  assert.equal(text, "then");
  for (const words of ["last of 2", "personal", "too long"]) assert.ok(note.includes(words), note);
  for (const none of [record({ mode: "hash_only" }, "sha256:1"), { payload: null }, record({ mode: "full" })]) assert.equal(askedBefore(none).text, null);
});

test("What lies in the storage and is no run is no run.", async () => {
  for (const text of ["", "{", "null", '{"token": 1}', '{"token": "t", "body": {}}']) assert.equal(await createKeep({ storage: storageOf(text), locks: null }).recall(), null);
});

test("A browser that keeps no site data asks all the same; a reload begins with an empty page.", async () => {
  const before = Object.getOwnPropertyDescriptor(globalThis, "sessionStorage");
  const get = () => {
    throw new DOMException("Access is denied", "SecurityError");
  };
  Object.defineProperty(globalThis, "sessionStorage", { get, configurable: true });
  try {
    const keep = createKeep({ locks: null });
    assert.equal(await keep.recall(), null);
    keep.begin({ input: "why?" });
    keep.know("r", "live");
    keep.forget();
    assert.equal(await createKeep({ locks: null }).recall(), null);
  } finally {
    delete globalThis.sessionStorage;
    if (before) Object.defineProperty(globalThis, "sessionStorage", before);
  }
});

test("A hash names a page, a run and parameters.", () => {
  const parts = (hash) => {
    const { path, id, params } = parseRoute(hash);
    return [path, id, params.toString()];
  };
  assert.deepEqual(parts(""), ["", null, ""]);
  assert.deepEqual(parts("#/runs/0-1?a=b%26c"), ["runs", "0-1", "a=b%26c"]);
  assert.deepEqual(parts("#/runs/%E0%A4%A"), ["runs", "%E0%A4%A", ""]);
});

test("A refusal is a Problem with what the server said, and a proxy's page is told as one without words.", async () => {
  const answering = (response) => createApi({ fetch: async () => response }).getJSON("/x", { params: { a: 1, b: null, c: "" } });
  const refusal = new Response('{"code": "overloaded", "title": "No", "detail": "Later."}', { status: 503, headers: { "retry-after": "5" } });
  await assert.rejects(answering(refusal), { name: "Problem", status: 503, code: "overloaded", title: "No", detail: "Later.", retryAfter: 5 });
  await assert.rejects(answering(new Response("<html>", { status: 502 })), { code: "http_502", title: "The request was refused" });
  await assert.rejects(answering(new Response("<html>")), { code: "unreadable" });
});

test("Who must sign in first is told to the entrance, and a server that is away is unreachable.", async () => {
  let asked = 0;
  const api = createApi({ fetch: async () => new Response("{}", { status: 401 }), onUnknown: () => (asked += 1) });
  await assert.rejects(api.send("POST", "/x", {}), { status: 401 });
  assert.equal(asked, 1);
  const away = createApi({ fetch: async () => { throw new TypeError("network"); } });
  await assert.rejects(away.getJSON("/x"), { status: null, code: "unreachable" });
});
