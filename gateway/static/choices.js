// The controls above the pictures: the model, its version and the switches; and the details of the chosen model.

import { describeModel, listModels } from "./api.js";
import { showProblem } from "./answer.js";
import { view } from "./dom.js";
import { acceptsDrawings, fillVersions, showModel } from "./model.js";
import { stopDrawing } from "./drawing.js";
import { state } from "./state.js";

const NO_HEAT_MAPS = "This model does not support heat maps.";
const DEFAULT_PURPOSE = view.purpose.textContent; // for models without a description
let abort = new AbortController(); // for the request of model details in progress

/** Fill the choice of models, and load the details of the default one. */
export async function start() {
  for (const item of await listModels()) {
    const option = new Option(item.title || item.name, item.name, item.default, item.default);
    option.disabled = !item.available;
    view.model.add(option);
  }
  // Not by `choose`: pictures chosen meanwhile have gone to this model, as it is the default.
  state.choices.model = view.model.value;
  await replaceModel();
}

/** Forget the details of the previous model, and load those of the chosen one. */
async function replaceModel() {
  abort.abort();
  abort = new AbortController();
  view.version.replaceChildren(new Option("Newest", ""));
  allowHeatMap(true);
  state.change("model", { model: null });
  await loadModel(abort.signal);
}

async function loadModel(signal) {
  let model;
  try {
    model = await describeModel(state.choices.model, signal);
  } catch (problem) {
    if (signal.aborted) return; // another model was chosen meanwhile
    throw problem;
  }
  fillVersions(model);
  showModel(model);
  allowHeatMap(model.explainable !== false);
  view.purpose.textContent = model.description || DEFAULT_PURPOSE;
  view.draw.hidden = !acceptsDrawings(model);
  if (view.draw.hidden) stopDrawing();
  state.change("model", { model });
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
  if (!allowed) {
    view.explain.checked = false;
    state.choose({ explain: false });
  }
}

view.model.addEventListener("change", () => {
  state.choose({ model: view.model.value, version: "" });
  replaceModel().catch(showProblem);
});
view.version.addEventListener("change", () => {
  allowHeatMap(true);
  state.choose({ version: view.version.value });
});
view.explain.addEventListener("change", () => state.choose({ explain: view.explain.checked }));
state.on("answers", reloadIfNewer);
