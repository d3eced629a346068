// Above the list of several pictures: how many are done, not sure or failed, their order, and downloads.

import { isUnsure } from "../answer.js";
import { make, view } from "../dom.js";
import { state } from "../state.js";
import { toCsv, toJson } from "./export.js";

function show() {
  const { pictures } = state;
  const answered = pictures.filter(({ answer }) => answer);
  view.results.hidden = pictures.length < 2;
  if (view.results.hidden) return;
  view.counts.textContent = answered.length < pictures.length ? `${answered.length} of ${pictures.length}` : counted(pictures);
  for (const button of [view["save-csv"], view["save-json"]]) button.disabled = !answered.length;
}

function counted(pictures) {
  const unsure = pictures.filter(({ answer }) => answer.result && isUnsure(answer.result)).length;
  const failed = pictures.filter(({ answer }) => answer.problem).length;
  const parts = [`${pictures.length} pictures`];
  if (unsure) parts.push(`${unsure} not sure`);
  if (failed) parts.push(`${failed} ${failed === 1 ? "problem" : "problems"}`);
  return parts.join(", ");
}

function save(name, type, text) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

function answeredPictures() {
  return state.pictures.filter(({ answer }) => answer);
}

view["save-csv"].addEventListener("click", () => save("predictions.csv", "text/csv", toCsv(answeredPictures())));
view["save-json"].addEventListener("click", () => save("predictions.json", "application/json", toJson(answeredPictures())));
for (const type of ["pictures", "answers"]) state.on(type, show);
