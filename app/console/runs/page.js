// The pages Runs and Run. The list stays, hidden, while one of its runs is open, and is found again as it was left.
//
// What a test may hold on to:
//   #runs[data-state]      reading, rows, nothing, none-match, refused, forbidden; h1; #runs-filters with its fields
//                          [name=status|agreement|model|...], #runs-clear, #runs-more, a[data-export=jsonl|csv]
//   #runs-tail[data-phase] waiting, looking, failing, paused; #runs-pause; #runs-tail-text
//   #runs-rows tr[data-run][data-status], in it a.run-link, [data-part=question|outcome|fast|slow|latency|cost]
//   #runs-older, #runs-end
//   #one[data-state]       reading, record, guest, missing, not-yet, expired, refused; [data-run]; data-live while it runs
//   #one-question, #one-outcome[data-change], #one-note, #one-fields [data-field=...]
//   [data-run-lane=fast|slow][data-state][data-role] with [data-part=model|state|role|answer|thinking|figures|note]
//   #one-diff, #one-axis (slider; aria-valuenow is how many events are shown), #one-readout, #one-moments
//   #one-replay, #one-speed [data-speed], #one-player[data-phase], #one-again, #one-stop, #one-record
//   [data-feedback=fast_correct|slow_correct] button[value=true|false][aria-pressed], #one-said

import { el, replace } from "../dom.js";
import { openList } from "./list.js";
import { openOne } from "./one.js";

/** Open the list, or the run that the route names. */
export function open(root, route, app) {
  const listRoot = el("div", { id: "runs" });
  const oneRoot = el("div", { id: "one", hidden: true });
  replace(root, listRoot, oneRoot);
  let list = null;
  let one = null;
  let scrolled = 0;

  function showOne(id) {
    if (one?.id === id) return;
    if (one === null && list !== null) {
      scrolled = scrollY;
      list.rest();
    }
    one?.close();
    listRoot.hidden = true;
    oneRoot.hidden = false;
    one = openOne(oneRoot, id, app);
    scrollTo(0, 0);
  }

  function showList(next) {
    const left = one?.id ?? null;
    one?.close();
    one = null;
    oneRoot.hidden = true;
    listRoot.hidden = false;
    if (list === null) list = openList(listRoot, next, app);
    else list.update(next);
    if (left === null) return;
    scrollTo(0, scrolled);
    list.focus(left);
  }

  const show = (next) => (next.id === null ? showList(next) : showOne(next.id));
  show(route);
  return {
    update: show,
    close() {
      list?.close();
      one?.close();
    },
  };
}
