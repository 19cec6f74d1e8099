// The sign-in form, which stands instead of the page while the server wants a key.

import { byId, put } from "./dom.js";
import { createSession } from "./session.js";
import { SHELL } from "./words.js";

const session = createSession();
const entrance = byId("entrance");
const form = byId("sign-in");
const hint = byId("sign-in-hint");
const field = byId("key");
const page = [byId("main"), byId("nav")];
let demanded = false; // the form stands
let caller = null; // who used the page last
const tabs = channel();

/** What tells the other tabs who uses this browser now. */
function channel() {
  try {
    return new BroadcastChannel("tandem.caller");
  } catch {
    return null; // no site data: each tab finds out by its next refusal
  }
}

/** Ask for a key instead of a question. */
export function demand() {
  if (demanded) return;
  demanded = true;
  for (const part of page) part.hidden = true;
  byId("who").hidden = true;
  entrance.hidden = false;
  field.focus();
}

function admit(who) {
  demanded = false;
  caller = who.caller ?? caller;
  if (who.caller) tabs?.postMessage(who.caller);
  for (const part of page) part.hidden = false;
  entrance.hidden = true;
  byId("who").hidden = who.auth !== "keys";
  put(byId("who-name"), who.caller ?? "");
}

/** Nothing of the last user stays in the page, nor in this tab. */
function leave() {
  try {
    sessionStorage.clear();
    localStorage.removeItem("tandem.options");
  } catch {
    // no storage: nothing is in it
  }
  location.reload();
}

/** Find out who asks, and ask for a key if need be; `entered` is called whenever somebody may use the page. */
export async function openEntrance(entered) {
  const look = async ({ signedIn = false } = {}) => {
    const who = await session.whoAsks();
    if (who === null) {
      if (signedIn) put(hint, SHELL.noCookie);
      return demand();
    }
    if (caller !== null && who.caller && who.caller !== caller) return leave();
    admit(who);
    return entered(who);
  };
  put(hint, SHELL.signIn);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = await session.signIn(field.value);
    field.value = "";
    if (problem === null) return look({ signedIn: true });
    put(hint, problem.detail);
    return field.focus();
  });
  byId("sign-out").addEventListener("click", async () => {
    const problem = await session.signOut();
    if (problem !== null) return put(byId("announcer"), problem.detail);
    tabs?.postMessage(null); // nobody
    return leave();
  });
  tabs?.addEventListener("message", ({ data }) => {
    if (caller !== null && data !== caller) leave();
  });
  return look();
}
