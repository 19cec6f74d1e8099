// The parser reads our framing whatever the network does to it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { TooLarge, createParser } from "../../../clients/js/src/parser.js";

const encoder = new TextEncoder();
const STREAM =
  'event: start\nretry: 2000\nid: r:0\ndata: {"a":1}\n\n: ping\nevent: delta\nid: r:1\ndata: {"text":"h\\u00e9 \u20ac 𝄞"}\n\n: ping\n: ping\nevent: done\nid: r:2\ndata: {}\n\n';

function read(chunks, most) {
  const events = [];
  const feed = createParser((...event) => events.push(event), most);
  for (const chunk of chunks) feed(chunk);
  return events;
}

const readText = (text) => read([encoder.encode(text)]);
const whole = readText(STREAM);

test("A stream in one piece gives its events with names, ids and data.", () => {
  assert.deepEqual(whole.map(([name, id]) => [name, id]), [["start", "r:0"], ["delta", "r:1"], ["done", "r:2"]]);
  assert.equal(JSON.parse(whole[1][2]).text, "hé € 𝄞");
});

for (const [name, end] of [["LF", "\n"], ["CRLF", "\r\n"], ["CR", "\r"]]) {
  const bytes = encoder.encode(STREAM.replaceAll("\n", end));

  test(`A stream with ${name} line ends that is cut in two at any byte gives the same events, inside a character too.`, () => {
    for (let at = 0; at <= bytes.length; at++) assert.deepEqual(read([bytes.slice(0, at), bytes.slice(at)]), whole);
  });

  test(`A stream with ${name} line ends that arrives byte by byte gives the same events.`, () => {
    assert.deepEqual(read([...bytes].map((byte) => Uint8Array.of(byte))), whole);
  });
}

test("A byte order mark is no part of the first line, in one piece or in three.", () => {
  const bytes = encoder.encode(`\ufeff${STREAM}`);
  assert.deepEqual(read([bytes]), whole);
  assert.deepEqual(read([bytes.slice(0, 1), bytes.slice(1, 2), bytes.slice(2)]), whole);
});

test("A comment alone, also one followed by a blank line, delivers nothing.", () => {
  assert.deepEqual(readText(": ping\n\n: ping\n: ping\n\nretry: 5\n\nevent: x\n\n"), []);
});

test("An event cut before its blank line is not delivered.", () => {
  assert.deepEqual(readText("event: done\nid: r:9\ndata: {}\n"), []);
});

test("Several data lines are joined by a line feed, and U+2028 does not end a line.", () => {
  assert.equal(readText("data: a\u2028b\ndata:c\n\n")[0][2], "a\u2028b\nc");
});

test("An id with NUL is ignored and the last good one stands.", () => {
  assert.equal(readText("id: r:1\nid: r\0:2\ndata: x\n\n")[0][1], "r:1");
});

test("Lines that mean nothing, and bytes that are no UTF-8, break nothing behind them.", () => {
  const noise = [encoder.encode("\n\nfoo\nbar: 1\n:\ndata"), Uint8Array.of(0xff, 0xfe, 0x0a), encoder.encode("\n"), encoder.encode(STREAM)];
  assert.deepEqual(read(noise).slice(-3), whole);
});

for (const [what, text] of [["a line", "data: " + "x".repeat(200)], ["many lines", "data: x\n".repeat(100)], ["a comment", ":" + "x".repeat(200)]]) {
  test(`${what} beyond the bound is an error, in one piece and in many.`, () => {
    assert.throws(() => read([encoder.encode(text)], 150), TooLarge);
    assert.throws(() => read([...encoder.encode(text)].map((byte) => Uint8Array.of(byte)), 150), TooLarge);
  });
}

test("A long stream of small events is within the bound.", () => {
  assert.equal(read([encoder.encode("data: x\n\n".repeat(1000))], 150).length, 1000);
});
