// The controls above the pictures: the model, its version and the switches; and the details of the chosen model.

import { correctingAddress, readAddress } from "./address.js";
import { showProblem } from "./answer.js";
import { listModels } from "./api.js";
import { describeAvailable, listWhenReachable } from "./availability.js";
import { view } from "./dom.js";
import { fillVersions, showModel } from "./model.js";
import { pause, pauseS } from "./patience.js";
import { useUrl } from "./pictures.js";
import { state } from "./state.js";

const NO_HEAT_MAPS = "This model does not support heat maps.";
const DEFAULT_PURPOSE = view.purpose.textContent; // for models without a description
const LONGEST_NAME = 60; // characters in a sentence
const CHECKS = 20; // whether models have become available
let unexplainable = new Set(); // names of models without heat maps
let abort = new AbortController(); // for the request of model details in progress

/** Fill the choice of models, and load the details of the one that the address names, or of the default one. */
export async function start() {
  const models = await listWhenReachable();
  fillModels(models);
  state.defaultModel = models.find((model) => model.default)?.name ?? "";
  // Not by `choose`: pictures chosen meanwhile have gone to the model of the address, or to the default one.
  const { choices, url } = readAddress();
  const isServed = models.some(({ name }) => name === choices.model);
  state.choices = withPossibleHeatMap(isServed ? choices : { ...choices, model: state.defaultModel, version: "" });
  if (!isServed) reportMissing(choices.model);
  if (url) correctingAddress(() => useUrl(url));
  watchUnavailable(models);
  await replaceModel();
}

function fillModels(models) {
  unexplainable = new Set(models.filter(({ explainable }) => explainable === false).map(({ name }) => name));
  const chosen = view.model.value;
  const options = models.map((model) => {
    const option = new Option(model.title || model.name, model.name, model.default, model.default);
    option.disabled = !model.available;
    return option;
  });
  view.model.replaceChildren(...options);
  if (chosen) view.model.value = chosen;
}

/** Offer models that were not available at first, once they are. */
async function watchUnavailable(models) {
  let hasUnavailable = models.some(({ available }) => !available);
  for (let attempt = 0; hasUnavailable && attempt < CHECKS; attempt += 1) {
    await pause(pauseS({}, attempt));
    const current = await listModels().catch(() => models);
    hasUnavailable = current.some(({ available }) => !available);
    fillModels(current);
  }
}

/** Forget the details of the previous model, and load those of the chosen one. */
async function replaceModel() {
  abort.abort();
  abort = new AbortController();
  view.version.replaceChildren(new Option("Newest", ""));
  showChoices();
  allowHeatMap(!unexplainable.has(state.choices.model));
  state.change("model", { model: null });
  await loadModel(abort.signal);
}

async function loadModel(signal) {
  let model;
  try {
    model = await describeAvailable(state.choices.model, { signal, onUnavailable: showModel });
  } catch (problem) {
    if (signal.aborted) return; // another model was chosen meanwhile
    throw problem;
  }
  fillVersions(model, state.choices.version);
  showModel(model);
  checkVersion(model);
  allowHeatMap(model.explainable !== false);
  view.purpose.textContent = model.description || DEFAULT_PURPOSE;
  showChoices();
  state.change("model", { model });
}

function checkVersion(model) {
  const { version } = state.choices;
  if ([...view.version.options].some(({ value }) => value === version)) return;
  const [kind, name] = version.split("/").map(decodeURIComponent);
  const missing = kind === "labels" ? `no version with the label “${shorten(name)}”` : `no version ${shorten(name)}`;
  correctingAddress(() => state.choose({ version: "" }));
  notify(`The model ${model.name} has ${missing}. Its newest version is used instead.`);
}

function reportMissing(name) {
  notify(`There is no model “${shorten(name)}” here. The default model is used instead.`);
  correctingAddress(() => state.change("choices", {}, {}));
}

/** A name from the address, which may be of any length. */
function shorten(name) {
  return name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME)}…` : name;
}

function notify(text) {
  view.notice.textContent = text;
  view.notice.hidden = !text;
}

/** Load the model again if a version answered that the page does not know. */
function reloadIfNewer() {
  const newest = state.pictures.find(({ answer }) => answer?.result)?.answer.result.model;
  const { model, choices } = state;
  if (!model || !newest || choices.version || newest.name !== model.name || newest.version === model.version) return;
  loadModel(abort.signal).catch(showProblem);
}

function allowHeatMap(allowed) {
  view.unexplained.textContent = allowed ? "" : NO_HEAT_MAPS;
  view.explain.disabled = !allowed;
  if (!allowed) correctingAddress(() => state.choose({ explain: false }));
}

/** The choices without a heat map if the model has none: a request for one would be refused. */
function withPossibleHeatMap(choices) {
  return { ...choices, explain: choices.explain && !unexplainable.has(choices.model) };
}

function showChoices() {
  const { model, version, explain, original } = state.choices;
  view.model.value = model;
  view.version.value = version;
  view.explain.checked = explain;
  view.original.checked = original;
}

view.model.addEventListener("change", () => {
  state.choose(withPossibleHeatMap({ ...state.choices, model: view.model.value, version: "" }));
});
view.version.addEventListener("change", () => state.choose({ version: view.version.value }));
view.explain.addEventListener("change", () => state.choose({ explain: view.explain.checked }));
view.original.addEventListener("change", () => state.choose({ original: view.original.checked }));
state.on("choices", ({ detail }) => {
  showChoices();
  if ("model" in detail || "version" in detail) notify("");
  if ("model" in detail) replaceModel().catch(showProblem);
  else if ("version" in detail) allowHeatMap(state.model?.explainable !== false);
});
state.on("answers", reloadIfNewer);
