// Joins the parts of the page: who asks, the client, the pages and the address.

import { createApi } from "./api.js";
import { createClient } from "./client/tandem.js";
import { byId, put } from "./dom.js";
import { demand, openEntrance } from "./entrance.js";
import { openHelp } from "./help.js";
import { createShell } from "./shell.js";
import { openThemes } from "./themes.js";

const app = {
  api: createApi({ onUnknown: demand }),
  client: createClient(),
  who: null,
  go: () => {},
  demand,
  announce(text) {
    put(byId("announcer"), text);
  },
};
const shell = createShell(byId("main"), app);

openThemes(byId("theme"));
openHelp(byId("help-open"));
openEntrance((who) => {
  app.who = who;
  return shell.start();
});
