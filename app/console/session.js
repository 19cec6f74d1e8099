// Who uses the page. Where the server wants a key, it is exchanged for a cookie that no script can read.

import { createApi } from "./api.js";
import { SHELL } from "./words.js";

/** Whether somebody may do what needs this right; tried where it is not known what they may. */
export const may = (who, right) => !Array.isArray(who?.rights) || who.rights.includes(right);

/** The three questions over a `fetch`. */
export function createSession(fetch) {
  const api = createApi({ fetch });
  const problem = (error) => ({ status: error.status, detail: error.status === null ? SHELL.unreachable : error.detail || error.title });

  return {
    /** Who asks, as the server knows them; null when it wants a key; {} when it cannot be asked. */
    whoAsks: () => api.getJSON("/v1/session").catch(({ status }) => (status === 401 ? null : {})),
    /** Exchange the key; null when it was taken, else {status, detail}. */
    async signIn(key) {
      const token = key.trim();
      if (!/^[!-~]+$/.test(token)) return { status: null, detail: SHELL.noKey };
      return api.send("POST", "/v1/session", undefined, { headers: { authorization: `Bearer ${token}` } }).then(() => null, problem);
    },
    /** End the session here and on the server; null when it has ended, else {status, detail}. */
    signOut: () => api.send("DELETE", "/v1/session").then(() => null, (error) => (error.status === 401 ? null : problem(error))),
  };
}
