// app/console/words.js: what is not known is never shown as a number.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CHANGES, STATUSES, cost, count, duration, modelName, outputTokens, percent, tokens, when } from "../../app/console/words.js";

test("An unknown cost, duration or token count is called unknown, and 0 is 0.", () => {
  assert.deepEqual([cost(null), cost(undefined), cost(0), duration(null), tokens(null)], ["unknown", "unknown", "$0", "unknown", "unknown"]);
  assert.equal(tokens({ input_tokens: 3, output_tokens: null, source: "reported" }), "3 in, unknown out");
});

test("Estimated tokens say that they are estimated.", () => {
  assert.equal(tokens({ input_tokens: 1200, output_tokens: 4, source: "estimated" }), "1,200 in, 4 out (estimated)");
  assert.deepEqual([outputTokens({ output_tokens: 4, source: "estimated" }), outputTokens({ source: "unknown" })], ["≈4", "unknown"]);
});

test("Durations read well at every size, also at the borders.", () => {
  assert.deepEqual([0, 999.4, 999.6, 3244, 59_996, 125_000].map(duration), ["0 ms", "999 ms", "1.00 s", "3.24 s", "1 min 00 s", "2 min 05 s"]);
});

test("Small costs keep their digits.", () => {
  assert.deepEqual([0.000042, 0.0031, 0.1234, 1.5].map(cost), ["$0.000042", "$0.0031", "$0.1234", "$1.5000"]);
});

test("A cost too small for its digits is not shown as none.", () => {
  assert.deepEqual([3e-7, 1e-12, 6e-7].map(cost), ["below $0.000001", "below $0.000001", "$0.000001"]);
});

test("The hour after midnight is 00.", () => {
  const midnight = new Date();
  midnight.setHours(0, 5, 9, 0);
  assert.equal(when(midnight.toISOString()), "00:05:09");
});

test("A model keeps its provider and loses the folders of its file.", () => {
  assert.deepEqual([modelName("local:/a/b/c.gguf"), modelName("deliberate:5@local:smollm2"), modelName(null)], ["local:c.gguf", "deliberate:5@local:smollm2", ""]);
});

test("What is no number or time is never shown as one.", () => {
  assert.deepEqual([count(null), percent(undefined), when(undefined), when("yesterday")], ["unknown", "unknown", "unknown", "yesterday"]);
  assert.deepEqual([count(12345), percent(0.424), percent(1), percent(0)], ["12,345", "42.4 %", "100 %", "0 %"]);
});

test("Every change and every status of the protocol has a word and a sentence.", () => {
  for (const known of ["confirmed", "revised", "undetermined", "unopposed", "unverified"]) assert.equal(CHANGES[known].length, 2);
  for (const known of ["completed", "partial", "timeout", "failed", "cancelled", "shutdown"]) assert.equal(STATUSES[known].length, 2);
});
