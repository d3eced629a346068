// The API key, where the service wants one: asked for once, kept as long as the tab is open, sent with every request.

import { view } from "./dom.js";

const KEPT_AS = "image-gateway-key";
let given = null; // what the requests wait for that were refused while the visitor is asked

export function apiKey() {
  return sessionStorage.getItem(KEPT_AS);
}

/** Ask the visitor, saying why; resolves when there is a key to try. */
export function askForKey(why) {
  given ??= new Promise((resolve) => {
    view["key-why"].textContent = why;
    view.key.value = "";
    view.access.hidden = false;
    view.key.focus();
    view.access.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEPT_AS, view.key.value.trim());
      view.access.hidden = true;
      given = null;
      resolve();
    }, { once: true });
  });
  return given;
}
