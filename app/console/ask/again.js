// `#/?again=RUN_ID`: the question of a run that was asked before, put into the box. Asking it is left to whoever reads it.

import { may } from "../session.js";
import { AGAIN } from "./words.js";

const KEPT = ["full", "redacted"];

/** What was asked, or null where the texts are not kept. */
export function questionOf(run, payload) {
  const asked = payload?.messages?.findLast(({ role }) => role === "user")?.content;
  return KEPT.includes(run.content?.mode ?? "full") && typeof asked === "string" && asked !== "" ? asked : null;
}

/** The question of a record, null if it has none, and what is to be said of it. */
export function askedBefore(record) {
  const text = questionOf(record, record.payload);
  if (text === null) return { text, note: AGAIN.notKept };
  const { messages } = record.payload;
  const said = [
    AGAIN.ready,
    messages.length > 1 ? AGAIN.lastOf(messages.length) : null,
    record.content?.mode === "redacted" ? AGAIN.redacted : null,
    record.content?.cut?.some((where) => where.startsWith("messages")) ? AGAIN.cut : null,
  ];
  return { text, note: said.filter(Boolean).join(" ") };
}

/** The same for the id of a run, whose record may not be there or not be readable now. */
export async function findAsked(runId, { api, who }) {
  const address = encodeURIComponent(runId);
  try {
    return askedBefore(await api.getJSON(may(who, "read") ? `/api/experiments/${address}` : `/v1/runs/${address}`));
  } catch ({ status, title }) {
    return { text: null, note: [404, 410].includes(status) ? AGAIN.missing : AGAIN.unread(title) };
  }
}
