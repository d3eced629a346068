// The drawing area as one of the ways to a picture: opened, closed and cleared by its buttons.

import { view } from "./dom.js";
import { Pad } from "./pad.js";
import { state } from "./state.js";

/** Open the drawing area on request; `onStroke` receives the drawing as a PNG after each stroke. */
export function enableDrawing(onStroke) {
  const pad = new Pad(view.pad, onStroke);
  view.draw.addEventListener("click", () => (view.pad.hidden ? startDrawing(pad) : stopDrawing()));
  view.clear.addEventListener("click", () => pad.clear());
}

function startDrawing(pad) {
  for (const element of [view.hint, view.preview, view.heatmap, view.caption]) element.hidden = true;
  view.pad.hidden = view.clear.hidden = false;
  view.draw.setAttribute("aria-pressed", "true");
  pad.clear();
}

export function stopDrawing() {
  if (view.pad.hidden) return;
  view.pad.hidden = view.clear.hidden = true;
  view.draw.setAttribute("aria-pressed", "false");
  view.hint.hidden = state.pictures.length > 0;
  state.change("selection");
}
