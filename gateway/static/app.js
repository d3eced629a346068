// The page: pictures and choices in, requests to the API out. The snippets show what it sends.

import { batches, describeModel, listModels, predict, predictPath, SERVICE } from "./api.js";
import { showAnswer, showProblem, showWaiting, summary } from "./answer.js";
import { enableCopyButtons } from "./copy.js";
import { view } from "./dom.js";
import { apiKey } from "./key.js";
import { fillVersions, showModel, acceptsDrawings, thresholdsOf } from "./model.js";
import { Pad } from "./pad.js";
import { sampleButtons } from "./samples.js";
import { curl, python } from "./snippets.js";
import { fillStrip, showCaptions } from "./strip.js";

const NO_HEAT_MAPS = "This model does not support heat maps.";
const DEFAULT_PURPOSE = view.purpose.textContent; // for models without a description
// A picture has a name and either a blob or a url. `objectUrl` is its address within the page, `answer` its result or
// problem, and `isGenerated` says whether it was created on this page.
let pictures = [];
let selected = 0;
let model = null; // the details of the chosen model
let predictionAbort = new AbortController(); // for the predictions in progress
let modelAbort = new AbortController(); // for the request of model details in progress

const pad = new Pad(view.pad, (blob) => setPictures([{ name: "drawing.png", blob, isGenerated: true }]));

// Models

async function start() {
  showCode();
  for (const item of await listModels()) {
    const option = new Option(item.title || item.name, item.name, item.default, item.default);
    option.disabled = !item.available;
    view.model.add(option);
  }
  showCode(); // with the model's name, and with a key if the user has entered one meanwhile
  await replaceModel(); // pictures chosen meanwhile have gone to this model, as it is the default
}

async function chooseModel() {
  await Promise.all([replaceModel(), classify()]);
}

/** Forget the details of the previous model, and load those of the chosen one. */
async function replaceModel() {
  modelAbort.abort();
  modelAbort = new AbortController();
  model = null;
  view.version.replaceChildren(new Option("Newest", ""));
  allowHeatMap(true);
  await loadModel(modelAbort.signal);
}

async function loadModel(signal) {
  try {
    model = await describeModel(view.model.value, signal);
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
  showSamples(model.labels ?? []);
  showSelected(); // adds the thresholds if the predictions arrived first
}

function allowHeatMap(allowed) {
  view.unexplained.textContent = allowed ? "" : NO_HEAT_MAPS;
  view.explain.disabled = !allowed;
  if (!allowed) view.explain.checked = false;
}

// Predictions

function requestOptions() {
  return { model: view.model.value, version: view.version.value, explain: view.explain.checked };
}

async function classify() {
  predictionAbort.abort();
  predictionAbort = new AbortController();
  const { signal } = predictionAbort;
  const all = pictures;
  showCode();
  for (const picture of all) delete picture.answer;
  view.answer.setAttribute("aria-busy", String(all.length > 0));
  for (const batch of batches(all)) {
    const answers = await predictBatch(batch, signal);
    if (signal.aborted) return; // a later request replaces this one
    batch.forEach((picture, index) => (picture.answer = answers[index]));
    showCaptions(pictures, selected);
    if (batch.includes(all[selected])) showSelected();
  }
  view.answer.setAttribute("aria-busy", "false");
  announce(all);
  reloadModelIfNewer(all);
}

/** Load the model again if a version answered that the page does not know. */
function reloadModelIfNewer(all) {
  const newest = all.find(({ answer }) => answer.result)?.answer.result.model.version;
  if (model && newest && !view.version.value && newest !== model.version) loadModel(modelAbort.signal).catch(showProblem);
}

/** Classify one batch; a problem with the whole request becomes the answer for each picture. */
async function predictBatch(batch, signal) {
  try {
    return await predict(predictPath(requestOptions()), batch, signal);
  } catch (problem) {
    return batch.map(() => ({ problem }));
  }
}

function announce(all) {
  if (all.length === 1 && all[0].answer.result) view.status.textContent = summary(all[0].answer);
  if (all.length < 2) return; // a single problem is already announced as an alert
  const failed = all.filter((picture) => picture.answer.problem).length;
  view.status.textContent = `${all.length} pictures classified${failed ? `, ${failed} of them failed` : ""}`;
}

// Pictures

function setPictures(newPictures) {
  if (!newPictures.length) return;
  for (const picture of pictures) if (picture.objectUrl) URL.revokeObjectURL(picture.objectUrl);
  pictures = newPictures;
  for (const picture of pictures) if (picture.blob) picture.objectUrl = URL.createObjectURL(picture.blob);
  fillStrip(pictures, select);
  select(0);
  classify().then(scrollToAnswer);
}

/** Show the answer on small screens, unless the user is drawing. */
function scrollToAnswer() {
  if (view.pad.hidden) view.answer.scrollIntoView({ block: "nearest" });
}

function useFiles(files) {
  if (files.length) stopDrawing();
  setPictures([...files].map((blob) => ({ name: blob.name || "picture.png", blob })));
}

function useUrl(url) {
  stopDrawing();
  setPictures([{ name: url, url }]);
}

function useSample(name, blob) {
  stopDrawing();
  setPictures([{ name, blob, isGenerated: true }]);
}

function showSamples(labels) {
  const buttons = sampleButtons(labels, useSample);
  view["sample-list"].replaceChildren(...buttons);
  view.samples.hidden = !buttons.length;
}

// Showing

function select(index) {
  selected = index;
  showCaptions(pictures, selected);
  showSelected();
}

function showSelected() {
  const picture = pictures[selected];
  if (!picture) return;
  if (view.pad.hidden) showPicture(picture);
  showSaveLink(picture);
  showHeatMap(picture.answer?.result?.explanation);
  if (picture.answer) showAnswer(picture.answer, model && thresholdsOf(model));
  else if (pictures.length > 1) showWaiting();
}

function showPicture({ name, url, objectUrl }) {
  view.preview.hidden = !objectUrl;
  if (objectUrl) view.preview.src = objectUrl;
  view.caption.textContent = name;
  view.caption.hidden = false;
  if (url) showHint("Fetched by the service", "This page does not load pictures from other sites.");
  else view.hint.hidden = true;
}

/** Pictures created on this page must be saved before the copied code can read them. */
function showSaveLink({ name, objectUrl, isGenerated }) {
  view.save.hidden = !isGenerated;
  if (isGenerated) Object.assign(view.save, { href: objectUrl, download: name });
}

/** Shown over the picture, or in a corner of the drawing area so that the user can continue to draw. */
function showHeatMap(explanation) {
  view.heatmap.hidden = !view.explain.checked || !explanation;
  if (view.heatmap.hidden) return;
  view.heatmap.src = explanation.heatmap;
  view.heatmap.alt = `Heat map for “${explanation.class}”`;
  view.caption.textContent = `Warm areas speak most for “${explanation.class}”`;
  view.caption.hidden = false;
}

function showHint(title, text) {
  view["hint-title"].textContent = title;
  view["hint-text"].textContent = text;
  view.hint.hidden = false;
}

function showCode() {
  const all = pictures.length ? pictures : [{ name: "picture.jpg" }];
  const options = { ...requestOptions(), needsKey: Boolean(apiKey()) };
  view.curl.textContent = curl(SERVICE, options, batches(all)[0]);
  view.python.textContent = python(SERVICE, options, all);
}

// Drawing

function startDrawing() {
  for (const element of [view.hint, view.preview, view.heatmap, view.caption]) element.hidden = true;
  view.pad.hidden = view.clear.hidden = false;
  view.draw.setAttribute("aria-pressed", "true");
  pad.clear();
}

function stopDrawing() {
  view.pad.hidden = view.clear.hidden = true;
  view.draw.setAttribute("aria-pressed", "false");
  view.hint.hidden = pictures.length > 0;
  showSelected();
}

// Events

view.model.addEventListener("change", () => chooseModel().catch(showProblem));
view.version.addEventListener("change", () => {
  allowHeatMap("");
  classify();
});
view.explain.addEventListener("change", () => {
  const hasHeatMaps = pictures.every(({ answer }) => answer?.result?.explanation);
  if (view.explain.checked && !hasHeatMaps) classify();
  else {
    showCode();
    showSelected();
  }
});

// The service supports formats that browsers do not, such as TIFF.
view.preview.addEventListener("error", () => {
  view.preview.hidden = true;
  showHint("No preview", "Your browser cannot display this format.");
});

view.choose.addEventListener("change", () => {
  useFiles(view.choose.files);
  view.choose.value = "";
});
view.draw.addEventListener("click", () => (view.pad.hidden ? startDrawing() : stopDrawing()));
view.clear.addEventListener("click", () => pad.clear());
view.link.addEventListener("submit", (event) => {
  event.preventDefault();
  useUrl(view.url.value);
});

// Files can be dropped anywhere: the browser would otherwise open a picture that misses the frame.
document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  view.stage.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) view.stage.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  view.stage.classList.remove("over");
  useFiles(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  const { files } = event.clipboardData;
  const text = event.clipboardData.getData("text").trim();
  if (files.length) useFiles(files);
  else if (!event.target.closest?.("input") && /^https?:\/\/\S+$/.test(text)) useUrl(text);
});

enableCopyButtons();
start().catch(showProblem);
