// A button that copies, and says so for a moment.

import { put } from "../dom.js";
import { ASK } from "./words.js";

const SAID_MS = 1500;

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // forbidden, or a page that came over plain HTTP
  }
}

/** textOf gives what is to be copied when the button is pressed. */
export function copyButton(button, textOf, { announce }) {
  const words = button.textContent;
  let timer = null;
  button.addEventListener("click", async () => {
    const said = (await copied(textOf())) ? ASK.copied : ASK.notCopied;
    put(button, said);
    announce(said);
    clearTimeout(timer);
    timer = setTimeout(() => put(button, words), SAID_MS);
  });
}
