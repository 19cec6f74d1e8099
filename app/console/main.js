// Joins the parts: what people do and what the stream says become events of run.js; the view is painted once a frame.

import { demand, openEntrance } from "./entrance.js";
import { refreshRecent } from "./recent.js";
import { canAccept, canStop, initial, isGuest, reduce } from "./run.js";
import { command, follow } from "./stream.js";
import { createView } from "./view.js";

const question = document.getElementById("question");
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const paint = createView(accept);
let state = initial();
let aborter = null;
let framed = false;

function schedule() {
  if (framed) return;
  framed = true;
  requestAnimationFrame(() => {
    framed = false;
    paint(state, performance.now());
  });
}

function emit(event) {
  state = reduce(state, event);
  if (event.problem?.status === 401) demand(); // the session ended meanwhile
  schedule();
}

async function ask(text) {
  if (text.trim() === "" || canStop(state)) return;
  emit({ type: "ask", question: text });
  question.value = "";
  const ticking = setInterval(schedule, calm ? 1000 : 100);
  aborter = new AbortController();
  try {
    await follow({ input: text }, emit, { signal: aborter.signal });
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  } finally {
    clearInterval(ticking);
    if (state.start === null && question.value === "") question.value = text; // refused: nothing typed is lost
    schedule();
    refreshRecent();
  }
}

async function order(verb) {
  const problem = await command(state.runId, verb);
  if (problem) emit({ type: "notice", problem });
}

function stop() {
  if (state.runId !== null && !isGuest(state)) return order("cancel");
  aborter.abort();
  return emit({ type: "stopped", at: performance.now() });
}

function accept() {
  if (canAccept(state)) order("accept");
}

document.getElementById("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(question.value);
});
document.getElementById("stop").addEventListener("click", stop);
question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask(question.value);
});
for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => {
    question.value = example.textContent;
    question.focus();
    ask(question.value);
  });
}

openEntrance(refreshRecent);
schedule();
