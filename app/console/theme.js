// Before the first paint, and not a module, so that it does not wait: the colours that were chosen here, if any were; and
// what is said when a module of the page does not arrive, since the page says nothing then.
(() => {
  const failed = ({ target }) => {
    if (target.type === "module" && target.localName === "script") document.getElementById("unloaded").hidden = false;
  };
  addEventListener("error", failed, true);
  try {
    const theme = localStorage.getItem("tandem.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // no storage: the system's colours
  }
})();
