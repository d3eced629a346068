// Pictures that come from outside: chosen, dropped or pasted files, and URLs.

import { view } from "./dom.js";
import { useFiles, useUrl } from "./pictures.js";

view.choose.addEventListener("change", () => {
  useFiles(view.choose.files);
  view.choose.value = "";
});
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
