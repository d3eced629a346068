// The page: pictures and choices in, requests to the API out, and the same requests as code.

import { showAnswer, showProblem, showWaiting } from "./answer.js";
import { start } from "./choices.js";
import "./code.js";
import { enableCopyButtons } from "./copy.js";
import { view } from "./dom.js";
import { enableDrawing } from "./drawing.js";
import "./intake.js";
import { thresholdsOf } from "./model.js";
import { useDrawing, useSample } from "./pictures.js";
import "./predictions.js";
import { showSamples } from "./samples.js";
import "./stage.js";
import { state } from "./state.js";
import { fillStrip, showCaptions } from "./strip.js";

function showSelected() {
  const { answer } = state.picture ?? {};
  if (answer) showAnswer(answer, state.model && thresholdsOf(state.model));
  else if (state.pictures.length > 1) showWaiting();
}

/** Show the answer on small screens, unless the user is drawing. */
function scrollToAnswer() {
  if (view.pad.hidden && state.pictures.every(({ answer }) => answer)) view.answer.scrollIntoView({ block: "nearest" });
}

state.on("pictures", () => fillStrip(state.pictures, (selected) => state.change("selection", { selected })));
for (const type of ["pictures", "selection", "answers"]) {
  state.on(type, () => showCaptions(state.pictures, state.selected));
}
// The thresholds of a model may arrive after the predictions.
for (const type of ["selection", "answers", "model"]) state.on(type, showSelected);
state.on("answers", scrollToAnswer);
state.on("model", () => showSamples(state.model?.labels ?? [], useSample));

enableDrawing(useDrawing);
enableCopyButtons();
start().catch(showProblem);
