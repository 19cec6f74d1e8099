// What can go wrong, in one shape. Nothing here repeats a header, an address or a foreign error, which may hold a key.

const MOST_CHARS = 1000;
const MOST_BODY = 16 << 20; // characters

/** A request that was refused, or a run that was lost; `code` is stable, `title` and `detail` are for people. */
export class TandemError extends Error {
  constructor({ status = null, code, title, detail, retryAfter = null, retryable = false, runId = null }) {
    super(`${title}: ${detail}`);
    Object.assign(this, { name: "TandemError", status, code, title, detail, retryAfter, retryable, runId });
  }
}

const said = (value, instead) => (typeof value === "string" && value ? value.slice(0, MOST_CHARS) : instead);

/** Retry-After in seconds, from a number or a date; null without one. */
function seconds(header) {
  const found = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return found >= 0 ? found : null;
}

/** The body as JSON; null when it is none, breaks off or is too long. */
export async function jsonOf({ body }) {
  const decoder = new TextDecoder();
  const reader = body?.getReader();
  try {
    for (let text = ""; text.length < MOST_BODY; ) {
      const { done, value } = await reader.read();
      if (done) return JSON.parse(text);
      text += decoder.decode(value, { stream: true });
    }
  } catch {
    return null;
  }
  reader.cancel().catch(() => {});
  return null;
}

/** The error for a response that is no success: problem+json, or whatever a proxy in between has answered. */
export async function problemOf(response, runId) {
  const { status } = response;
  const { code, title, detail } = (await jsonOf(response)) ?? {};
  return new TandemError({
    status,
    code: said(code, `http_${status}`),
    title: said(title, "The request was refused"),
    detail: said(detail, "The answer carried no explanation."),
    retryAfter: seconds(response.headers.get("retry-after")),
    retryable: status === 429 || status >= 500 || code === "run_not_live",
    runId,
  });
}

/** The error for a connection that gave no answer, or broke before `done`; of what failed only Node's code is told. */
export function lost(runId, failed) {
  const why = /^[A-Z_]{3,40}$/.test(failed?.cause?.code) ? ` (${failed.cause.code})` : "";
  const [code, title, detail] = runId
    ? ["connection_lost", "The connection was lost", `It did not come back${why}. The run may have ended without you; its record tells.`]
    : ["unreachable", "The server cannot be reached", `It gave no answer${why}.`];
  return new TandemError({ code, title, detail, retryable: true, runId });
}
