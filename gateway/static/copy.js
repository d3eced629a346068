// Buttons that copy the text of the element whose id is in their `data-copy`.

import { view } from "./dom.js";

const COPIED_MS = 1500;

export function enableCopyButtons() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      await copy(view[button.dataset.copy]);
      view.status.textContent = button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
    });
  }
}

/** `navigator.clipboard` exists only over https and on localhost. */
async function copy(element) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(element.textContent);
    return;
  }
  getSelection().selectAllChildren(element);
  document.execCommand("copy");
}
