// Pictures that come from outside: chosen, photographed, dropped or pasted, and URLs.

import { view } from "./dom.js";
import { clear, useFiles, useUrl } from "./pictures.js";
import { state } from "./state.js";

const WEB_URL = /^https?:\/\/\S+$/;
const DATA_URL = /^data:(image\/[\w.+-]+);base64,([A-Za-z0-9+/=\s]+)$/;

for (const input of [view.choose, view.camera]) {
  input.addEventListener("change", () => {
    useFiles(input.files);
    input.value = "";
  });
}
view.clear.addEventListener("click", () => {
  view.url.value = "";
  clear();
});
view.link.addEventListener("submit", (event) => {
  event.preventDefault();
  useUrl(view.url.value);
});
state.on("pictures", () => {
  if (state.picture?.url) view.url.value = state.picture.url; // it may come from the address of the page
});

// Anything can be dropped anywhere: the browser would otherwise open what misses the frame, and leave this page.
document.addEventListener("dragover", (event) => {
  if (isText(event)) return;
  event.preventDefault();
  view.stage.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) view.stage.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  view.stage.classList.remove("over");
  if (isText(event)) return;
  event.preventDefault();
  useTransfer(event.dataTransfer);
});
document.addEventListener("paste", (event) => {
  const { files } = event.clipboardData;
  const text = event.clipboardData.getData("text").trim();
  if (files.length) useFiles(files);
  else if (!event.target.closest?.("input") && WEB_URL.test(text)) useUrl(text);
});

/** Whether text is dragged into a field, which takes it. */
function isText({ target, dataTransfer }) {
  return Boolean(target.closest?.("input")) && !dataTransfer.types.includes("Files");
}

/** Use dropped files, or else the image that was dragged from another page, or else a link. */
function useTransfer(transfer) {
  if (transfer.files.length) {
    useFiles(transfer.files);
    return;
  }
  const page = new DOMParser().parseFromString(transfer.getData("text/html"), "text/html"); // loads and runs nothing
  const links = transfer.getData("text/uri-list").split(/\r?\n/).filter((line) => !line.startsWith("#"));
  const address = [page.querySelector("img")?.getAttribute("src"), ...links, transfer.getData("text")]
    .map((text) => text?.trim() ?? "")
    .find((text) => WEB_URL.test(text) || DATA_URL.test(text));
  if (!address) return;
  if (WEB_URL.test(address)) useUrl(address);
  else useFiles([fileOf(address)]);
}

function fileOf(dataUrl) {
  const [, type, base64] = DATA_URL.exec(dataUrl);
  const bytes = Uint8Array.from(atob(base64.replaceAll(/\s/g, "")), (character) => character.charCodeAt(0));
  return new File([bytes], `picture.${type.slice("image/".length).replace(/\W.*/, "")}`, { type });
}
