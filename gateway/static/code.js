// The request of the page as code to copy.

import { batches, SERVICE } from "./api.js";
import { view } from "./dom.js";
import { apiKey } from "./key.js";
import { curl, python } from "./snippets.js";
import { state } from "./state.js";

const PLACEHOLDER = [{ name: "picture.jpg" }];

function showCode() {
  const pictures = state.pictures.length ? state.pictures : PLACEHOLDER;
  const request = { ...state.choices, needsKey: Boolean(apiKey()) };
  view.curl.textContent = curl(SERVICE, request, batches(pictures)[0]);
  view.python.textContent = python(SERVICE, request, pictures);
}

for (const type of ["pictures", "choices", "model", "answers"]) state.on(type, showCode);
showCode();
