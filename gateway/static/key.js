// The API key, if the service requires one: entered once, stored while the tab is open, sent with every request.

import { view } from "./dom.js";

const STORAGE_KEY = "image-gateway-key";
let entry = null; // promise of a key, shared by all requests that wait for one

export function apiKey() {
  return sessionStorage.getItem(STORAGE_KEY);
}

/** Ask the user for a key and say why; the promise resolves once there is a key to try. */
export function askForKey(reason) {
  entry ??= new Promise((resolve) => {
    view["key-why"].textContent = reason;
    view.key.value = "";
    view.access.hidden = false;
    view.key.focus();
    view.access.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(STORAGE_KEY, view.key.value.trim());
      view.access.hidden = true;
      entry = null;
      resolve();
    }, { once: true });
  });
  return entry;
}
