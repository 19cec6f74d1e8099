// app/console/ask/diff.js: what went and what came, with nothing lost, in words that can be read.
import assert from "node:assert/strict";
import { test } from "node:test";
import { tallyOf, wordDiff } from "../../app/console/ask/diff.js";

const side = (parts, without) => parts.filter(({ kind }) => kind !== without).map(({ text }) => text).join("");
const random = (seed) => () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;

test("One word that differs is all that is marked.", () => {
  assert.deepEqual(wordDiff("It costs 10 cents, I think.", "It costs 5 cents, I think."), [
    { kind: "same", text: "It costs " },
    { kind: "gone", text: "10" },
    { kind: "came", text: "5" },
    { kind: "same", text: " cents, I think." },
  ]);
});

test("Equal texts have no change, and an empty one is all gone or all new.", () => {
  assert.deepEqual([wordDiff("", ""), wordDiff("a", "a")[0].kind, wordDiff("", "a b"), wordDiff("a", "")], [[], "same", [{ kind: "came", text: "a b" }], [{ kind: "gone", text: "a" }]]);
});

test("A few equal words between changes are part of the change, so that it can be read.", () => {
  assert.deepEqual(wordDiff("one of two", "three of four").map(({ kind }) => kind), ["gone", "came"]);
});

test("Both texts can be read off the parts, whatever they are.", () => {
  const next = random(7);
  const text = () => Array.from({ length: Math.floor(next() * 12) }, () => ["a", "b", "ab", ".", "日本", "é"][Math.floor(next() * 6)]).join(next() < 0.5 ? " " : "");
  for (let i = 0; i < 2000; i += 1) {
    const [before, after] = [text(), text()];
    const parts = wordDiff(before, after);
    assert.deepEqual([side(parts, "came"), side(parts, "gone")], [before, after]);
  }
});

test("Long texts that share nothing are one change, found in bounded work.", () => {
  const long = (word) => Array.from({ length: 20_000 }, (_, i) => `${word}${i}`).join(" ");
  const parts = wordDiff(long("a"), long("b"));
  assert.deepEqual(parts.map(({ kind }) => kind), ["gone", "came"]);
  assert.deepEqual(tallyOf(parts), { same: 0, gone: 20_000, came: 20_000 });
});

test("A change of hundreds of thousands of signs is shown as any other.", () => {
  const long = "*".repeat(200_000);
  assert.deepEqual(wordDiff(`a ${long} b`, `c ${long} d`).map(({ kind, text }) => [kind, text.length]), [["gone", 200_004], ["came", 200_004]]);
});
