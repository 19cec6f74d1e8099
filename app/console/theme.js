// Before the first paint: the colours that were chosen here, if any were (not a module, so that it does not wait).
(() => {
  try {
    const theme = localStorage.getItem("tandem.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // no storage: the system's colours
  }
})();
