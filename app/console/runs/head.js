// What stands above and below the lanes of one run: the question, how it ended, and what the record says of it.

import { questionOf } from "../ask/again.js";
import { wordDiff } from "../ask/diff.js";
import { el } from "../dom.js";
import { AUDIT, CHANGES, cost, duration, meaningOf, percent, REASONS, STATUSES, tokens, when } from "../words.js";
import { outcomeOf } from "./rows.js";
import { AGREEMENTS, CONTENTS, FIELDS, METHOD, ONE, SOURCES } from "./words.js";

const TITLE_CHARS = 280;
const MESSAGE_CHARS = 20_000;

const cut = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);

/** The heading: the question, as much of it as a heading may have. */
export function titleOf(record) {
  const question = questionOf(record, record.payload);
  return { text: question === null ? ONE.untitled : cut(question, TITLE_CHARS), kept: question !== null };
}

/** All that was said before, where the heading does not show it all. */
export function conversation(record) {
  const { kept } = titleOf(record);
  const messages = record.payload?.messages ?? [];
  if (!kept || (messages.length === 1 && messages[0].content.length <= TITLE_CHARS)) return null;
  const said = messages.map(({ role, content }) => [el("dt", null, role), el("dd", null, cut(content, MESSAGE_CHARS))]);
  return el("details", { class: "one-messages" }, el("summary", null, ONE.conversation(messages.length)), el("dl", null, said));
}

/** The outcome in a word and in a sentence. */
export function outcomeLine(record) {
  const { word, change } = outcomeOf(record);
  const sentence = CHANGES[record.change]?.[1] ?? meaningOf(record);
  const why = record.reason ? (REASONS[record.reason] ?? `(${record.reason})`) : "";
  const reason = why && why !== sentence ? ` ${why}` : "";
  return el("p", { id: "one-outcome", dataset: { change } }, el("strong", { class: "outcome", dataset: { change } }, word), " ", sentence, reason);
}

function agreementOf({ agreement }) {
  if (!agreement) return null;
  return (AGREEMENTS[agreement.verdict] ?? agreement.verdict) + METHOD(agreement.method, agreement.similarity);
}

function labelsOf({ labels }) {
  const named = ["experiment", "variant", "prompt_class"].filter((name) => labels?.[name]).map((name) => [name, labels[name]]);
  const all = [...named, ...(labels?.tags ?? []).map((tag) => ["tag", tag])];
  if (all.length === 0) return null;
  return all.map(([name, value]) => el("a", { class: "chip", href: `#/runs?${new URLSearchParams({ [name]: value })}` }, value));
}

function sourceOf(record) {
  const word = SOURCES[record.source] ?? record.source;
  if (!record.source_run_id) return word;
  return [word, ", ", el("a", { href: `#/runs/${encodeURIComponent(record.source_run_id)}` }, ONE.origin)];
}

function fieldsOf(record) {
  const { content } = record;
  return {
    when: el("time", { datetime: record.created_at, title: record.created_at }, when(record.created_at)),
    status: STATUSES[record.status]?.[0] ?? record.status,
    reason: record.reason,
    source: sourceOf(record),
    policy: record.policy,
    latency: record.latency_ms === null ? null : duration(record.latency_ms),
    tokens: record.usage ? tokens(record.usage) : null,
    cost: record.status === "running" ? null : cost(record.cost_usd),
    saved: typeof record.saved_usd === "number" ? cost(record.saved_usd) : null,
    agreement: agreementOf(record),
    content: content ? [CONTENTS[content.mode] ?? content.mode, content.cut?.length > 0 ? ONE.cutTexts : ""].filter(Boolean).join(", ") : null,
    audit: AUDIT[record.audit] ?? record.audit,
    labels: labelsOf(record),
    run: el("code", null, record.run_id),
    fingerprint: el("code", null, record.fingerprint),
  };
}

/** The record as a list of names and values; what it does not have is left out. */
export function recordFields(record) {
  const pairs = Object.entries(fieldsOf(record)).filter(([, value]) => value !== null && value !== undefined);
  const wide = new Set(["run", "fingerprint", "labels"]);
  return el(
    "dl",
    { id: "one-fields" },
    pairs.map(([name, value]) => el("div", { dataset: { field: name }, class: wide.has(name) ? "wide" : null }, el("dt", null, FIELDS[name]), el("dd", null, value))),
  );
}

const DIFF_TAGS = { same: "span", gone: "del", came: "ins" };

/** What changed between the two answers; null unless the final revised the preliminary one and both texts are there. */
export function changesOf(record) {
  const { fast, slow } = record.payload?.texts ?? {};
  if (record.change !== "revised" || !fast || !slow || !["full", "redacted"].includes(record.content?.mode ?? "full")) return null;
  const parts = wordDiff(fast, slow).map(({ kind, text }) => el(DIFF_TAGS[kind], null, text));
  const alike = typeof record.agreement?.similarity === "number" ? ` ${ONE.alike(percent(record.agreement.similarity))}` : "";
  return el("section", { class: "card", id: "one-diff" }, el("h2", null, ONE.changes), el("p", { class: "soft" }, ONE.changesHint, alike), el("div", { class: "diff", dir: "auto" }, parts));
}
