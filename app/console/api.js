// The server's JSON, and its refusals as Problems. Who must sign in first is told once, to whoever listens.

import { PROBLEMS } from "./words.js";

/** A refusal as shown to people: status (null when nobody answered), code, title, detail, retryAfter in seconds. */
export class Problem extends Error {
  constructor({ status = null, code, title, detail = "", retryAfter = null }) {
    super(title);
    Object.assign(this, { name: "Problem", status, code, title, detail, retryAfter });
  }
}

async function problemOf(response) {
  const base = { status: response.status, code: `http_${response.status}`, retryAfter: Number(response.headers.get("retry-after")) || null };
  const body = await response.json().catch(() => null);
  if (typeof body?.title !== "string") return new Problem({ ...base, ...PROBLEMS.unexplained });
  return new Problem({ ...base, code: body.code ?? base.code, title: body.title, detail: body.detail ?? "" });
}

const unreachable = () => new Problem({ code: "unreachable", ...PROBLEMS.unreachable });

/** getJSON and send over `fetch`; `onUnknown` is called when the server wants to know who asks. Both throw Problem, or AbortError. */
export function createApi({ fetch = (...args) => globalThis.fetch(...args), onUnknown = () => {} } = {}) {
  async function call(path, init) {
    const response = await fetch(path, init).catch((error) => {
      throw error.name === "AbortError" ? error : unreachable();
    });
    if (response.status === 401) onUnknown();
    if (!response.ok) throw await problemOf(response);
    if (response.status === 204) return null;
    return response.json().catch(() => {
      throw new Problem({ status: response.status, code: "unreadable", ...PROBLEMS.unreadable });
    });
  }

  return {
    /** GET path with params (an object or URLSearchParams; null and "" are left out). */
    getJSON(path, { signal, params } = {}) {
      const pairs = params instanceof URLSearchParams ? [...params] : Object.entries(params ?? {});
      const query = new URLSearchParams(pairs.filter(([, value]) => value !== null && value !== undefined && value !== ""));
      return call(query.size ? `${path}?${query}` : path, { signal, headers: { accept: "application/json" } });
    },
    /** Any other method, with a JSON body if one is given; null for 204. */
    send(method, path, body, { signal, headers = {} } = {}) {
      const type = body === undefined ? {} : { "content-type": "application/json" };
      return call(path, { method, signal, headers: { ...type, ...headers }, body: body === undefined ? undefined : JSON.stringify(body) });
    },
  };
}
