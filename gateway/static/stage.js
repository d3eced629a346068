// The frame that shows the selected picture, and over it the heat map.

import { view } from "./dom.js";
import { state } from "./state.js";

function show() {
  const { picture } = state;
  if (!picture) return;
  if (view.pad.hidden) showPicture(picture);
  showSaveLink(picture);
  showHeatMap(picture.answer?.result?.explanation);
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
  view.heatmap.hidden = !state.choices.explain || !explanation;
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

// The service supports formats that browsers do not, such as TIFF.
view.preview.addEventListener("error", () => {
  view.preview.hidden = true;
  showHint("No preview", "Your browser cannot display this format.");
});
for (const type of ["pictures", "selection", "answers", "choices"]) state.on(type, show);
