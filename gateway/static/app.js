// The page: pictures and choices in, requests to the API out, and the same requests as code.

import "./address.js";
import { showAnswer, showNoAnswer, showProblem } from "./answer.js";
import { start } from "./choices.js";
import "./code.js";
import { enableCopyButtons } from "./copy.js";
import { view } from "./dom.js";
import "./drawing.js";
import "./intake.js";
import { thresholdsOf } from "./model.js";
import { tryAgain } from "./predictions.js";
import "./progress.js";
import "./results/panel.js";
import "./results/strip.js";
import "./samples.js";
import "./stage.js";
import { state } from "./state.js";
import { enableTabs } from "./tabs.js";

const NARROW = "(max-width: 48rem)"; // as in style.css

function showSelected() {
  const { answer } = state.picture ?? {};
  if (answer) showAnswer(answer, state.model && thresholdsOf(state.model), tryAgain);
  else showNoAnswer();
}

/** Scroll to the answer, on small screens together with the picture above it, unless the user is drawing. */
function scrollToAnswer() {
  const isDone = state.pictures.length > 0 && state.pictures.every(({ answer }) => answer);
  if (!view.pad.hidden || !isDone) return;
  if (matchMedia(NARROW).matches) view.stage.scrollIntoView({ block: "start" });
  else view.answer.firstElementChild.scrollIntoView({ block: "nearest" });
}

// The thresholds of a model may arrive after the predictions.
for (const type of ["pictures", "selection", "answers", "model"]) state.on(type, showSelected);
state.on("answers", scrollToAnswer);

enableCopyButtons();
enableTabs(view.languages);
start().catch(showProblem);
