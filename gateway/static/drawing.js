// The drawing area as one of the ways to a picture: opened, closed and cleared by its buttons.

import { view } from "./dom.js";
import { acceptsDrawings } from "./model.js";
import { Pad } from "./pad.js";
import { clear, useDrawing } from "./pictures.js";
import { state } from "./state.js";

const pad = new Pad(view.pad, (blob) => {
  if (!view.pad.hidden) useDrawing(blob);
});

function startDrawing() {
  view.pad.hidden = false;
  view.draw.setAttribute("aria-pressed", "true");
  clear();
}

function stopDrawing() {
  if (view.pad.hidden) return;
  view.pad.hidden = true;
  view.draw.setAttribute("aria-pressed", "false");
  state.change("selection");
}

view.draw.addEventListener("click", () => (view.pad.hidden ? startDrawing() : stopDrawing()));
state.on("pictures", () => {
  if (!state.pictures.length) pad.clear();
  else if (!state.picture.isDrawing) stopDrawing();
});
state.on("model", () => {
  if (!state.model) return;
  view.draw.hidden = !acceptsDrawings(state.model);
  if (view.draw.hidden) stopDrawing();
});
