// The parser of app/console/sse.js reads our framing whatever the network does to it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createParser } from "../../app/console/sse.js";

const encoder = new TextEncoder();
const STREAM =
  'event: start\nretry: 2000\nid: r:0\ndata: {"a":1}\n\n: ping\nevent: delta\nid: r:1\ndata: {"text":"h\\u00e9 \u20ac 𝄞"}\n\n: ping\n: ping\nevent: done\nid: r:2\ndata: {}\n\n';

function read(chunks) {
  const events = [];
  const parser = createParser((event) => events.push(event));
  for (const chunk of chunks) parser.feed(chunk);
  return events;
}

const whole = read([encoder.encode(STREAM)]);

test("A stream in one piece gives its events with names, ids and data.", () => {
  assert.deepEqual(whole.map((e) => [e.event, e.id]), [["start", "r:0"], ["delta", "r:1"], ["done", "r:2"]]);
  assert.equal(JSON.parse(whole[1].data).text, "hé € 𝄞");
});

test("A stream cut in two at any byte gives the same events, inside a character too.", () => {
  const bytes = encoder.encode(STREAM);
  for (let at = 0; at <= bytes.length; at++) assert.deepEqual(read([bytes.slice(0, at), bytes.slice(at)]), whole);
});

test("A stream that arrives byte by byte gives the same events.", () => {
  assert.deepEqual(read([...encoder.encode(STREAM)].map((b) => Uint8Array.of(b))), whole);
});

for (const [name, end] of [["CRLF", "\r\n"], ["CR", "\r"]]) {
  test(`A stream with ${name} line ends gives the same events at every cut.`, () => {
    const bytes = encoder.encode(STREAM.replaceAll("\n", end));
    for (let at = 0; at <= bytes.length; at++) assert.deepEqual(read([bytes.slice(0, at), bytes.slice(at)]), whole);
  });
}

test("A comment alone, also one followed by a blank line, delivers nothing.", () => {
  assert.deepEqual(read([encoder.encode(": ping\n\n: ping\n: ping\n\nretry: 5\n\nevent: x\n\n")]), []);
});

test("An event cut before its blank line is not delivered.", () => {
  assert.deepEqual(read([encoder.encode("event: done\nid: r:9\ndata: {}\n")]), []);
});

test("Several data lines are joined by a line feed, and U+2028 does not end a line.", () => {
  assert.equal(read([encoder.encode("data: a\u2028b\ndata:c\n\n")])[0].data, "a\u2028b\nc");
});

test("An id with NUL is ignored and the last good one stands.", () => {
  assert.equal(read([encoder.encode("id: r:1\nid: r\0:2\ndata: x\n\n")])[0].id, "r:1");
});
