// The keys, in a dialog that the ? button and Ctrl / open. #help (dialog), #help-open.

import { el } from "./dom.js";
import { HELP } from "./words.js";

const keys = (names) => names.flatMap((name, i) => (i === 0 ? [el("kbd", null, name)] : [" ", el("kbd", null, name)]));

function build() {
  const rows = HELP.rows.map(([names, words]) => el("div", null, el("dt", null, keys(names)), el("dd", null, words)));
  return el(
    "dialog",
    { id: "help", "aria-labelledby": "help-title" },
    el("h2", { id: "help-title" }, HELP.title),
    el("dl", { class: "keys" }, rows),
    el("p", { class: "soft" }, HELP.note),
    el("form", { method: "dialog" }, el("button", { class: "primary" }, HELP.close)),
  );
}

export function openHelp(button) {
  let dialog = null;
  const show = () => {
    dialog ??= document.body.appendChild(build());
    if (!dialog.open) dialog.showModal();
  };
  button.addEventListener("click", show);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || !event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    show();
  });
  button.setAttribute("aria-label", HELP.open);
  button.hidden = false;
}
