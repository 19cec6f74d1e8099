// Which page is open. `#/runs/ID?status=failed` is the route {path: "runs", id: "ID", params: URLSearchParams};
// `#/` is {path: "", id: null}. A page is a module with `open(root, route, app)` -> {update(route)?, close()}. When the
// route changes within a page, update(route) is called if it is there, else the page is closed and opened anew. Ask stays
// open (hidden) while another page is, so that its run goes on.
//
// body[data-page] is the route's path ("ask" for Ask); each page's root is #page-NAME; nav a[aria-current=page].

import { byId, el, mark, replace } from "./dom.js";
import { PAGES, SHELL } from "./words.js";

const LOADERS = {
  "": () => import("./ask/page.js"),
  runs: () => import("./runs/page.js"),
  insight: () => import("./insight/page.js"),
  health: () => import("./health/page.js"),
};

/** The route that a hash names. */
export function parseRoute(hash) {
  const [path, query = ""] = hash.replace(/^#?\/?/, "").split(/\?(.*)/s);
  const [page, id = ""] = path.split("/");
  return { path: page, id: decoded(id) || null, params: new URLSearchParams(query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A panel that says what went wrong and lets one try again. */
export function problemPanel({ title, detail, code }, again) {
  return el(
    "div",
    { class: "panel problem", role: "alert" },
    el("h2", null, title),
    detail ? el("p", null, detail) : null,
    code ? el("p", { class: "code" }, el("code", null, code)) : null,
    again ? el("button", { type: "button", class: "quiet", onclick: again }, SHELL.again) : null,
  );
}

/** Opens pages in `main` and follows the address. app: what pages are given; it gains go(hash). */
export function createShell(main, app) {
  const open = new Map(); // path -> {root, page, route}
  let current = null;
  let newest = null; // the route that was followed last

  function rootOf(path) {
    const id = `page-${path || "ask"}`;
    return byId(id) ?? main.appendChild(el("div", { id, class: "page", hidden: true }));
  }

  function leave(next) {
    if (current === null || current === next) return;
    const left = open.get(current);
    rootOf(current).hidden = true;
    if (current === "" || !left) return;
    left.page.close();
    open.delete(current);
    replace(left.root);
  }

  async function enter(route, again = () => enter(route)) {
    const root = rootOf(route.path);
    root.hidden = false;
    try {
      if (!open.has(route.path)) {
        if (!root.hasChildNodes()) replace(root, el("p", { class: "loading", role: "status" }, SHELL.loading));
        const module = await LOADERS[route.path]();
        if (current !== route.path || open.has(route.path)) return; // left meanwhile, or opened by another navigation
        replace(root);
        open.set(route.path, { root, page: module.open(root, newest, app) });
      } else open.get(route.path).page.update?.(route); // Ask, which was hidden
    } catch (error) {
      console.warn(error);
      replace(root, el("h1", { class: "unseen" }, PAGES[route.path]), problemPanel({ ...SHELL.broken, code: error.code ?? error.message }, again));
    }
  }

  function head(route) {
    const name = Object.hasOwn(PAGES, route.path) ? PAGES[route.path] : SHELL.nowhere.title;
    document.title = route.path === "" ? SHELL.title : `${route.id ?? name} · ${SHELL.title}`;
    mark(document.body, "page", route.path || "ask");
    for (const link of document.querySelectorAll("nav a")) {
      if (parseRoute(link.hash).path === route.path) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  function focusIn(root) {
    const target = root.querySelector("h1") ?? root;
    target.tabIndex = -1;
    target.focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  async function follow(route, { moved = true } = {}) {
    const known = Object.hasOwn(LOADERS, route.path);
    const within = current === route.path;
    leave(route.path);
    current = route.path;
    newest = route;
    head(route);
    const root = rootOf(known ? route.path : "nowhere");
    rootOf("nowhere").hidden = known;
    if (!known) replace(root, el("h1", { class: "unseen" }, SHELL.nowhere.title), problemPanel(SHELL.nowhere));
    else if (within && open.get(route.path)?.page?.update) open.get(route.path).page.update(route);
    else {
      if (within && route.path !== "") leaveAgain(route.path);
      await enter(route);
    }
    if (moved && !within) focusIn(root);
  }

  function leaveAgain(path) {
    open.get(path)?.page.close();
    open.delete(path);
  }

  const here = () => parseRoute(location.hash);
  app.go = (hash) => {
    if (location.hash === hash) return follow(here());
    location.hash = hash;
    return undefined;
  };
  addEventListener("hashchange", () => follow(here()));

  return {
    /** Show what the address names; a page that is open is opened anew, Ask excepted. */
    start() {
      for (const path of [...open.keys()].filter((known) => known !== "")) leaveAgain(path);
      return follow(here(), { moved: false });
    },
  };
}
