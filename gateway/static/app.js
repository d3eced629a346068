// The page asks the same API as everybody else; what it sends is what the snippets show.

import { batches, describeModel, listModels, predict, predictPath } from "./api.js";
import { showAnswer, showProblem, showWaiting, summary } from "./answer.js";
import { offerCopying } from "./copy.js";
import { view } from "./dom.js";
import { apiKey } from "./key.js";
import { fillVersions, showModel, takesDrawings, thresholdsOf } from "./model.js";
import { Pad } from "./pad.js";
import { samplesFor } from "./samples.js";
import { curl, python } from "./snippets.js";
import { fillStrip, showCaptions } from "./strip.js";

const UNEXPLAINED = "This model cannot show where it looks.";
const PURPOSE = view.purpose.textContent; // of models that say nothing about themselves
// A picture has a name and either a blob or a url; `shown` is where the page itself finds it, `answer` what came back.
let pictures = [];
let chosen = 0;
let model = null; // what the service says of the model asked
let asking = new AbortController(); // of the answers still to come
let choice = new AbortController(); // of the model chosen, whose description is still to come

const pad = new Pad(view.pad, (blob) => take([{ name: "drawing.png", blob, made: true }]));

// Models

async function start() {
  showCode();
  const models = await listModels();
  showCode(); // with the key that was asked for meanwhile
  for (const item of models) {
    const option = new Option(item.title || item.name, item.name, item.default, item.default);
    option.disabled = !item.available;
    view.model.add(option);
  }
  await chooseModel();
}

async function chooseModel() {
  choice.abort();
  choice = new AbortController();
  const { signal } = choice;
  model = null;
  view.version.replaceChildren(new Option("Newest", ""));
  allowExplaining(true);
  await Promise.all([describe(signal), ask()]);
}

async function describe(signal) {
  try {
    model = await describeModel(view.model.value, signal);
  } catch (problem) {
    if (signal.aborted) return; // a later choice has taken over
    throw problem;
  }
  fillVersions(model);
  showModel(model);
  allowExplaining(model.explainable !== false);
  view.purpose.textContent = model.description || PURPOSE;
  view.draw.hidden = !takesDrawings(model);
  if (view.draw.hidden) stopDrawing();
  offerSamples(model.labels ?? []);
  showChosen(); // with the thresholds, where the answer was faster
}

function allowExplaining(allowed) {
  view.unexplained.textContent = allowed ? "" : UNEXPLAINED;
  view.explain.disabled = !allowed;
  if (!allowed) view.explain.checked = false;
}

// Asking

function question() {
  return { model: view.model.value, version: view.version.value, explain: view.explain.checked };
}

async function ask() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const all = pictures;
  showCode();
  for (const picture of all) delete picture.answer;
  view.answer.setAttribute("aria-busy", String(all.length > 0));
  for (const batch of batches(all)) {
    const answers = await answersTo(batch, signal);
    if (signal.aborted) return; // a later question has taken over
    batch.forEach((picture, place) => (picture.answer = answers[place]));
    showCaptions(pictures, chosen);
    if (batch.includes(all[chosen])) showChosen();
  }
  view.answer.setAttribute("aria-busy", "false");
  tell(all);
  followSwap(all);
}

/** A newer version than the page knows of has answered. */
function followSwap(all) {
  const newest = all.find(({ answer }) => answer.result)?.answer.result.model.version;
  if (model && newest && !view.version.value && newest !== model.version) describe(choice.signal).catch(showProblem);
}

/** The answers to one batch; a problem with the whole of it is the answer to each. */
async function answersTo(batch, signal) {
  try {
    return await predict(predictPath(question()), batch, signal);
  } catch (problem) {
    return batch.map(() => ({ problem }));
  }
}

function tell(all) {
  if (all.length === 1 && all[0].answer.result) view.status.textContent = summary(all[0].answer);
  if (all.length < 2) return; // a single problem is an alert already
  const failed = all.filter((picture) => picture.answer.problem).length;
  view.status.textContent = `${all.length} pictures answered${failed ? `, ${failed} of them with an error` : ""}`;
}

// Pictures

function take(taken) {
  if (!taken.length) return;
  for (const picture of pictures) if (picture.shown) URL.revokeObjectURL(picture.shown);
  pictures = taken;
  for (const picture of pictures) if (picture.blob) picture.shown = URL.createObjectURL(picture.blob);
  fillStrip(pictures, choose);
  choose(0);
  ask().then(bringAnswerIntoView);
}

/** On a phone it would be below what is seen. Whoever draws goes on drawing. */
function bringAnswerIntoView() {
  if (view.pad.hidden) view.answer.scrollIntoView({ block: "nearest" });
}

function takeFiles(files) {
  if (files.length) stopDrawing();
  take([...files].map((blob) => ({ name: blob.name || "picture.png", blob })));
}

function takeUrl(url) {
  stopDrawing();
  take([{ name: url, url }]);
}

function takeSample(name, blob) {
  stopDrawing();
  take([{ name, blob, made: true }]);
}

function offerSamples(labels) {
  const buttons = samplesFor(labels, takeSample);
  view["sample-list"].replaceChildren(...buttons);
  view.samples.hidden = !buttons.length;
}

// Showing

function choose(place) {
  chosen = place;
  showCaptions(pictures, chosen);
  showChosen();
}

function showChosen() {
  const picture = pictures[chosen];
  if (!picture) return;
  if (view.pad.hidden) showPicture(picture);
  offerSaving(picture);
  showHeatMap(picture.answer?.result?.explanation);
  if (picture.answer) showAnswer(picture.answer, model && thresholdsOf(model));
  else if (pictures.length > 1) showWaiting();
}

function showPicture({ name, url, shown }) {
  view.preview.hidden = !shown;
  if (shown) view.preview.src = shown;
  view.caption.textContent = name;
  view.caption.hidden = false;
  if (url) showHint("The service fetches it", "This page itself loads nothing from elsewhere.");
  else view.hint.hidden = true;
}

/** What was made on this page has no file yet that the lines to copy could name. */
function offerSaving({ name, shown, made }) {
  view.save.hidden = !made;
  if (made) Object.assign(view.save, { href: shown, download: name });
}

/** Over the picture; in a corner of the sheet, so that drawing can go on. */
function showHeatMap(explanation) {
  view.heatmap.hidden = !view.explain.checked || !explanation;
  if (view.heatmap.hidden) return;
  view.heatmap.src = explanation.heatmap;
  view.heatmap.alt = `Heat map of what speaks for ${explanation.class}`;
  view.caption.textContent = `What speaks for ${explanation.class}: the warmer, the more`;
  view.caption.hidden = false;
}

function showHint(title, text) {
  view["hint-title"].textContent = title;
  view["hint-text"].textContent = text;
  view.hint.hidden = false;
}

function showCode() {
  const all = pictures.length ? pictures : [{ name: "picture.jpg" }];
  const asked = { ...question(), keyed: Boolean(apiKey()) };
  view.curl.textContent = curl(location.origin, asked, batches(all)[0]);
  view.python.textContent = python(location.origin, asked, all);
}

// Drawing

function startDrawing() {
  for (const part of [view.hint, view.preview, view.heatmap, view.caption]) part.hidden = true;
  view.pad.hidden = view.clear.hidden = false;
  view.draw.setAttribute("aria-pressed", "true");
  pad.wipe();
}

function stopDrawing() {
  view.pad.hidden = view.clear.hidden = true;
  view.draw.setAttribute("aria-pressed", "false");
  view.hint.hidden = pictures.length > 0;
  showChosen();
}

// Events

view.model.addEventListener("change", () => chooseModel().catch(showProblem));
view.version.addEventListener("change", () => {
  allowExplaining("");
  ask();
});
view.explain.addEventListener("change", () => {
  const explained = pictures.every(({ answer }) => answer?.result?.explanation);
  if (view.explain.checked && !explained) ask();
  else {
    showCode();
    showChosen();
  }
});

// The service knows formats that browsers do not, such as TIFF.
view.preview.addEventListener("error", () => {
  view.preview.hidden = true;
  showHint("No preview", "Your browser does not show this format.");
});

view.choose.addEventListener("change", () => {
  takeFiles(view.choose.files);
  view.choose.value = "";
});
view.draw.addEventListener("click", () => (view.pad.hidden ? startDrawing() : stopDrawing()));
view.clear.addEventListener("click", () => pad.wipe());
view.link.addEventListener("submit", (event) => {
  event.preventDefault();
  takeUrl(view.url.value);
});

// Anywhere on the page, so that a picture that misses the frame does not replace the page.
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
  takeFiles(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  const { files } = event.clipboardData;
  const text = event.clipboardData.getData("text").trim();
  if (files.length) takeFiles(files);
  else if (!event.target.closest?.("input") && /^https?:\/\/\S+$/.test(text)) takeUrl(text);
});

offerCopying();
start().catch(showProblem);
