// The two sides of the comparison: what can be chosen, and what the address names.

import { describeModel } from "../api.js";
import { listWhenReachable } from "../availability.js";
import { view } from "../dom.js";
import { pause } from "../patience.js";

const PAUSE_S = 5;
let models = []; // with their versions, where they are known

/** Fill both choices; without an address, with the default model and another version or model. */
export async function fillSides() {
  const summaries = await availableModels();
  models = await Promise.all(summaries.map((summary) => describeModel(summary.name).catch(() => ({ ...summary, versions: [] }))));
  for (const select of [view.a, view.b]) select.replaceChildren(...models.flatMap(optionsOf));
  const parameters = new URLSearchParams(location.search);
  const missing = ["a", "b"].filter((side) => parameters.get(side) && !choose(view[side], parameters.get(side)));
  if (!choose(view.a, parameters.get("a"))) choose(view.a, models.find((model) => model.default)?.name);
  if (!choose(view.b, parameters.get("b"))) choose(view.b, counterpart());
  return missing.map((side) => parameters.get(side));
}

/** The models that answer, as soon as there is one. */
async function availableModels() {
  for (;;) {
    const summaries = (await listWhenReachable()).filter(({ available }) => available);
    view.service.hidden = summaries.length > 0;
    if (summaries.length) return summaries;
    view.service.textContent = "Waiting for a model. None is available yet.";
    await pause(PAUSE_S);
  }
}

/** What a choice stands for: the model, and the rest of the path to a version or label. */
export function sideOf({ value, selectedOptions }) {
  const [name, ...rest] = value.split("/");
  const model = models.find((item) => item.name === decodeURIComponent(name));
  return { model: model.name, version: rest.join("/"), title: selectedOptions[0].text, labels: model.labels ?? [], input: model.card?.input };
}

/** Let the address name the choices, so that it can be sent to others. */
export function writeAddress() {
  const address = new URL(location);
  address.search = `?a=${view.a.value}&b=${view.b.value}`;
  history.replaceState(null, "", address);
}

function optionsOf({ name, title, version, versions }) {
  const path = encodeURIComponent(name);
  const option = (text, value) => new Option(`${title || name}, ${text}`, value);
  const served = versions.filter(({ state }) => state === "AVAILABLE");
  return [
    option(version ? `newest (version ${version})` : "newest", path),
    ...served.flatMap((item) =>
      (item.labels ?? []).map((label) => option(`${label} (version ${item.version})`, `${path}/labels/${encodeURIComponent(label)}`)),
    ),
    ...served.map((item) => option(`version ${item.version}`, `${path}/versions/${item.version}`)),
  ];
}

/** Select what a text stands for, such as `digits/versions/2`; false if it is not offered. */
function choose(select, text) {
  const option = [...select.options].find(({ value }) => decodeURIComponent(value) === text);
  if (option) option.selected = true;
  return Boolean(option);
}

/** Another version of the model on side A, or else another model. */
function counterpart() {
  const { model: name } = sideOf(view.a);
  const { version, versions } = models.find((model) => model.name === name);
  const older = versions.find((item) => item.state === "AVAILABLE" && item.version !== version);
  if (older) return `${name}/versions/${older.version}`;
  return models.find((model) => model.name !== name)?.name ?? name;
}
