// The address of the page: it names the choices and the URL of a picture, so that it can be sent to others.

import { clear, useUrl } from "./pictures.js";
import { state } from "./state.js";

let replacesEntry = false;

/** The choices and the URL of a picture that the address names; what it does not name is chosen by default. */
export function readAddress() {
  const parameters = new URLSearchParams(location.search);
  const [kind] = ["label", "version"].filter((name) => parameters.get(name));
  const choices = {
    model: parameters.get("model") || state.defaultModel,
    version: kind ? `${kind}s/${encodeURIComponent(parameters.get(kind))}` : "",
    explain: isOn(parameters.get("explain")),
    original: isOn(parameters.get("original")),
  };
  return { choices, url: parameters.get("url") ?? "" };
}

/** Run a function whose changes correct the current address instead of leading to another one. */
export function correctingAddress(change) {
  replacesEntry = true;
  try {
    change();
  } finally {
    replacesEntry = false;
  }
}

function isOn(value) {
  return value !== null && !["", "0", "false"].includes(value);
}

function write() {
  const { model, version, explain, original } = state.choices;
  const [kind, value] = version.split("/").map(decodeURIComponent);
  const named = {
    model: model === state.defaultModel && !version ? "" : model,
    version: kind === "versions" ? value : "",
    label: kind === "labels" ? value : "",
    explain: explain ? "1" : "",
    original: original ? "1" : "",
    url: state.picture?.url ?? "",
  };
  const parameters = new URLSearchParams(Object.entries(named).filter(([, text]) => text));
  const address = new URL(location);
  address.search = parameters;
  if (address.href === location.href) return;
  if (replacesEntry) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
}

function follow() {
  const { choices, url } = readAddress();
  state.choose(choices);
  if (url && url !== state.picture?.url) useUrl(url);
  else if (!url && state.picture?.url) clear();
}

state.choices = readAddress().choices;
window.addEventListener("popstate", () => correctingAddress(follow));
for (const type of ["choices", "pictures"]) state.on(type, write);
