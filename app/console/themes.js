// The colours: the system's, or those that were chosen here. theme.js sets them before the first paint.

import { put } from "./dom.js";
import { THEMES } from "./words.js";

const KEY = "tandem.theme";
const NAMES = Object.keys(THEMES);

function store(name) {
  try {
    if (name === NAMES[0]) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, name);
  } catch {
    // no storage: chosen for as long as the page is open
  }
}

/** A button that goes through the themes. */
export function openThemes(button) {
  const root = document.documentElement;
  const show = () => put(button, THEMES[root.dataset.theme ?? NAMES[0]]);
  button.addEventListener("click", () => {
    const next = NAMES[(NAMES.indexOf(root.dataset.theme ?? NAMES[0]) + 1) % NAMES.length];
    if (next === NAMES[0]) delete root.dataset.theme;
    else root.dataset.theme = next;
    store(next);
    show();
  });
  show();
  button.hidden = false;
}
