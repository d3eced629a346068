// The pictures to classify, whichever way they come.

import { stopDrawing } from "./drawing.js";
import { state } from "./state.js";

export function useFiles(files) {
  if (files.length) stopDrawing();
  setPictures([...files].map((blob) => ({ name: blob.name || "picture.png", blob })));
}

export function useUrl(url) {
  stopDrawing();
  setPictures([{ name: url, url }]);
}

export function useSample(name, blob) {
  stopDrawing();
  setPictures([{ name, blob, isGenerated: true }]);
}

export function useDrawing(blob) {
  setPictures([{ name: "drawing.png", blob, isGenerated: true }]);
}

function setPictures(pictures) {
  if (!pictures.length) return;
  for (const picture of state.pictures) if (picture.objectUrl) URL.revokeObjectURL(picture.objectUrl);
  for (const picture of pictures) if (picture.blob) picture.objectUrl = URL.createObjectURL(picture.blob);
  state.change("pictures", { pictures, selected: 0 });
}
