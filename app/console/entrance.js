// The sign-in form, which stands instead of the page while the server wants a key.

import { signIn, signOut, whoAsks } from "./session.js";

const byId = (id) => document.getElementById(id);
const form = byId("sign-in");
const hint = byId("sign-in-hint");
const field = byId("key");
const page = ["ask", "empty", "recent", "run"].map(byId);
let covered = null; // which parts of the page were hidden before the form was shown

/** Ask for a key instead of a question. */
export function demand() {
  if (covered !== null) return;
  covered = page.map((part) => part.hidden);
  for (const part of page) part.hidden = true;
  byId("who").hidden = true;
  form.hidden = false;
  field.focus();
}

function admit(who) {
  if (covered !== null) page.forEach((part, i) => (part.hidden = covered[i]));
  covered = null;
  form.hidden = true;
  byId("who").hidden = who.auth !== "keys";
  byId("who-name").textContent = who.caller ?? "";
}

/** Find out who asks, and ask for a key if need be; `entered` is called whenever somebody may use the page. */
export async function openEntrance(entered) {
  const look = async () => {
    const who = await whoAsks();
    if (who === null) return demand();
    admit(who);
    return entered();
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = await signIn(field.value);
    field.value = "";
    if (problem === null) return look();
    hint.textContent = problem.detail || problem.title;
    return field.focus();
  });
  byId("sign-out").addEventListener("click", async () => {
    if ((await signOut()) === null) location.reload(); // nothing of the last user stays in the page
  });
  return look();
}
