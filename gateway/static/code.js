// The request of the page as code to copy, and the last answer as it came.

import { batches, SERVICE } from "./api.js";
import { view } from "./dom.js";
import { apiKey } from "./key.js";
import { curl, javascript, python } from "./snippets.js";
import { state } from "./state.js";

const PLACEHOLDER = [{ name: "picture.jpg" }];
const NO_ANSWER = "Classify a picture to see the answer.";
const LONGEST_TEXT = 120; // characters; a heat map in base64 has thousands

function showCode() {
  const pictures = state.pictures.length ? state.pictures : PLACEHOLDER;
  const request = { ...state.choices, needsKey: Boolean(apiKey()) };
  const [batch] = batches(pictures);
  view.curl.textContent = curl(SERVICE, request, batch);
  view.python.textContent = python(SERVICE, request, pictures);
  view.javascript.textContent = javascript(SERVICE, request, batch);
  view.json.textContent = documentText(state.picture?.answer);
}

function documentText(answer) {
  const document = answer?.document ?? answer?.problem?.document;
  return document ? JSON.stringify(document, shorten, 2) : NO_ANSWER;
}

function shorten(_, value) {
  if (typeof value !== "string" || value.length <= LONGEST_TEXT) return value;
  return `${value.slice(0, 60)}… (${value.length.toLocaleString("en")} characters)`;
}

for (const type of ["pictures", "selection", "choices", "model", "answers"]) state.on(type, showCode);
showCode();
