// What the keyboard does on the Ask page; the shell's help lists it (HELP in words.js).

import { byId } from "../dom.js";

const isPlain = (event) => !event.ctrlKey && !event.altKey && !event.metaKey && !event.shiftKey;
const typesOn = (event) => event.isComposing || event.keyCode === 229; // the latter alone in Safari, whose Enter comes behind the composition
const alt = (event) => event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey; // AltGr is Ctrl and Alt

function clickIfShown(id) {
  const button = byId(id);
  if (button === null || button.hidden || button.closest("[hidden]")) return false;
  button.click();
  return true;
}

const ALT = new Map([
  ["KeyQ", () => (byId("question").focus(), true)],
  ["KeyW", () => clickIfShown("changes-toggle")],
  ["KeyC", () => clickIfShown("copy")],
  ["KeyL", () => clickIfShown("link")],
  ["KeyR", () => clickIfShown("fresh")],
]);

function handled(event) {
  if (event.key === "Escape" && isPlain(event)) return clickIfShown("stop");
  if (event.key === "Enter" && event.ctrlKey && !event.altKey && !event.shiftKey) return clickIfShown("accept");
  return alt(event) ? (ALT.get(event.code)?.() ?? false) : false;
}

/** Listens while the Ask page is shown and no dialog is open. */
export function listenToKeys(root, ask) {
  document.addEventListener("keydown", (event) => {
    if (root.hidden || typesOn(event) || document.querySelector("dialog[open]")) return;
    if (handled(event)) event.preventDefault();
  });
  byId("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !isPlain(event) || typesOn(event)) return;
    event.preventDefault();
    if (!event.repeat) ask(); // held down it would ask again after every refusal
  });
}
