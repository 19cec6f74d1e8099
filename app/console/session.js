// Who uses the page. Where the server wants a key, it is exchanged for a cookie that no script can read.

import { problemOf } from "./stream.js";

const unreachable = { status: null, detail: "The server cannot be reached. Try again." };

/** Who asks, as the server knows them; null when it wants a key; {} when it cannot be asked. */
export async function whoAsks(fetch = globalThis.fetch) {
  const response = await fetch("/v1/session").catch(() => null);
  if (response?.ok) return response.json();
  return response?.status === 401 ? null : {};
}

/** Exchange the key; null when it was taken, else the problem. */
export async function signIn(key, fetch = globalThis.fetch) {
  const token = key.trim();
  if (!/^[!-~]+$/.test(token)) return { status: null, detail: "A key has neither spaces nor special characters." };
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch("/v1/session", { method: "POST", headers }).catch(() => null);
  if (response === null) return unreachable;
  return response.ok ? null : problemOf(response);
}

/** End the session here and on the server; null when it has ended, else the problem. */
export async function signOut(fetch = globalThis.fetch) {
  const response = await fetch("/v1/session", { method: "DELETE" }).catch(() => null);
  if (response === null) return unreachable;
  return response.ok || response.status === 401 ? null : problemOf(response);
}
