// At most so many at a time, first come, first served: a browser has six connections to a server, over all its tabs.

/** A function that runs tasks; one whose signal is aborted before its turn is never begun. */
export function createGate(most) {
  const line = [];
  let running = 0;

  function next() {
    while (running < most && line.length > 0) begin(line.shift());
  }

  function begin({ task, signal, resolve, reject }) {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    running++;
    Promise.resolve()
      .then(task)
      .then(resolve, reject)
      .finally(() => {
        running--;
        next();
      });
  }

  return (task, signal) =>
    new Promise((resolve, reject) => {
      line.push({ task, signal, resolve, reject });
      next();
    });
}

/** Ask through the gate, each question once: who asks the same again shares the answer. */
export function createAsker(api, gate, signal) {
  const asked = new Map();
  return (path, params = {}) => {
    const key = `${path}?${new URLSearchParams(params)}`;
    if (!asked.has(key)) asked.set(key, gate(() => api.getJSON(path, { signal, params }), signal));
    return asked.get(key);
  };
}
