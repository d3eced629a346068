// The frame that shows the selected picture, and over it the heat map.

import { fileSize, view } from "./dom.js";
import { state } from "./state.js";

const INVITATION = { title: view["hint-title"].textContent, text: view["hint-text"].textContent };
const FILLS_FRAME = "fit_ink"; // a drawing that is moved and scaled does not lie on its picture

function show() {
  const { picture } = state;
  const isDrawing = !view.pad.hidden;
  document.body.classList.toggle("empty", !picture && !isDrawing);
  view.clear.hidden = !picture && !isDrawing;
  view.caption.textContent = picture && !isDrawing ? captionOf(picture) : "";
  showSaveLink(picture);
  showPreview(isDrawing ? null : picture?.objectUrl);
  showHint(isDrawing ? null : hintOf(picture));
  showHeatMap(picture?.answer?.result?.explanation);
}

function captionOf({ name, blob, upload }) {
  if (!blob) return name;
  return `${name}, ${fileSize(blob.size)}${upload ? `, scaled down to ${fileSize(upload.size)}` : ""}`;
}

/** Pictures created on this page must be saved before the copied code can read them. */
function showSaveLink(picture) {
  view.save.hidden = !picture?.isGenerated;
  if (picture?.isGenerated) Object.assign(view.save, { href: picture.objectUrl, download: picture.name });
}

function showPreview(objectUrl) {
  view.preview.hidden = !objectUrl || Boolean(state.picture.cannotBeShown);
  if (view.preview.hidden) view.preview.removeAttribute("src");
  else if (view.preview.src !== objectUrl) view.preview.src = objectUrl;
}

/** What stands in the frame in place of a picture. */
function hintOf(picture) {
  if (!picture) return INVITATION;
  if (picture.cannotBeShown) return { title: "No preview", text: "Your browser cannot display this format." };
  if (picture.previewProblem) return { title: "No preview", text: picture.previewProblem.detail || picture.previewProblem.title };
  return picture.objectUrl ? null : { title: "Loading the preview", text: "The service fetches the picture." };
}

function showHint(hint) {
  view.hint.hidden = !hint;
  if (!hint) return;
  view["hint-title"].textContent = hint.title;
  view["hint-text"].textContent = hint.text;
}

/** Shown over the picture, or in a corner of the drawing area so that the user can continue to draw. */
function showHeatMap(explanation) {
  view.opacity.hidden = !state.choices.explain || !state.picture;
  view.heatmap.hidden = !state.choices.explain || !explanation;
  view["opacity-label"].textContent = "Heat map";
  if (view.heatmap.hidden) return;
  view["opacity-label"].textContent = `Warm areas speak most for “${explanation.class}”`;
  if (view.heatmap.src !== explanation.heatmap) view.heatmap.src = explanation.heatmap;
  view.heatmap.alt = `Heat map for “${explanation.class}”`;
  placeHeatMap();
}

/** Lay the heat map on the part of the picture that the model sees. */
function placeHeatMap() {
  const input = state.model?.card?.input;
  const { naturalWidth: width, naturalHeight: height } = view.preview;
  const fillsFrame = view.preview.hidden || !width || !input || input.resize === FILLS_FRAME;
  view.heatmap.classList.toggle("placed", !fillsFrame);
  view.preview.classList.toggle("covered", !view.heatmap.hidden && fillsFrame);
  const seen = fillsFrame ? { width: "", height: "" } : seenSize(width, height, input);
  const shown = Math.min(view.stage.clientWidth / width, view.stage.clientHeight / height);
  for (const side of ["width", "height"]) view.heatmap.style[side] = fillsFrame ? "" : `${seen[side] * shown}px`;
}

/** The size, in pixels of the picture, of the part around its middle that becomes the model's input. */
function seenSize(width, height, input) {
  if (input.resize === "stretch") return { width, height };
  const scales = [input.width / width, input.height / height];
  let scale = input.resize === "letterbox" ? Math.min(...scales) : Math.max(...scales);
  if (input.resize_size) scale = input.resize_size / Math.min(width, height);
  return { width: input.width / scale, height: input.height / scale };
}

// The service supports formats that browsers do not, such as TIFF.
view.preview.addEventListener("error", () => {
  if (!state.picture || !view.preview.hasAttribute("src")) return;
  state.picture.cannotBeShown = true;
  show();
});
view.preview.addEventListener("load", show);
view["opacity-slider"].addEventListener("input", () => {
  view.heatmap.style.opacity = view["opacity-slider"].value / 100;
});
new ResizeObserver(() => {
  if (!view.heatmap.hidden) placeHeatMap();
}).observe(view.stage);
for (const type of ["pictures", "selection", "answers", "choices", "model"]) state.on(type, show);
