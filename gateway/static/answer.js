// The result for one picture: its classes with their bars, or the problem as the service describes it.

import { make, makeButton, milliseconds, percent, view } from "./dom.js";

const NOT_SURE = "Not sure, perhaps";
const TYPE = /^\/(problems\/[\w-]+)$/;
const LONG_NAME = 20; // characters that fit into the headline beside the score

const PLACEHOLDER = [...view.answer.childNodes];

/**
 * Show the result or the problem of a picture.
 *
 * `thresholds` has one number per class for a multi-label model, and is null for others; `tryAgain` is called for a
 * problem that may pass.
 */
export function showAnswer(answer, thresholds, tryAgain) {
  if (answer.problem) {
    showProblem(answer.problem, tryAgain);
    return;
  }
  const { result } = answer;
  view.answer.replaceChildren(headline(result), bars(result, thresholds), times(answer), facts(answer));
}

export function showNoAnswer() {
  view.answer.replaceChildren(...PLACEHOLDER);
}

export function showProblem(problem, tryAgain) {
  const { title, detail, message, requestId, mayPass } = problem;
  const box = make("div", "problem", make("strong", "", title ?? message), make("span", "", detail ?? ""));
  box.setAttribute("role", "alert");
  view.answer.replaceChildren(box, ...aboutProblem(problem));
  if (mayPass && tryAgain) view.answer.append(makeButton("Try again", tryAgain));
  if (requestId) view.answer.append(make("p", "facts", "Request ", make("code", "", requestId)));
}

/** A link to the page about problems of this type, which is relative as the page itself may be below a path. */
function aboutProblem({ type }) {
  const [, page] = TYPE.exec(type ?? "") ?? [];
  if (!page) return [];
  const link = make("a", "", "What this means, and what to do");
  link.href = page;
  return [make("p", "facts", link)];
}

/** One line for screen readers and tooltips, such as `Not sure, perhaps cat 48.1 %`. */
export function summary({ problem, result }) {
  if (problem) return problem.message;
  if (result.classes) return result.classes.map((item) => item.class).join(", ") || "none of the classes";
  return `${isUnsure(result) ? `${NOT_SURE} ` : ""}${result.class} ${percent(result.score)}`;
}

function headline(result) {
  if (!result.classes) {
    const size = result.class.length > LONG_NAME ? "top long" : "top";
    const best = [make("span", "name", result.class), make("span", "sure", percent(result.score))];
    return make("p", size, ...(isUnsure(result) ? [make("span", "doubt", NOT_SURE)] : []), ...best);
  }
  if (!result.classes.length) return make("p", "top", "None of the classes");
  return make("p", "top tags", ...result.classes.map((item) => make("span", "tag", item.class)));
}

/** A model whose card has no `abstain_below` does not say, and a multi-label one names no best class. */
export function isUnsure({ classes, confident }) {
  return !classes && confident === false;
}

function bars(result, thresholds) {
  // The thresholds of a multi-label model may differ, so a class can be present without being among the best.
  const present = new Set(result.classes?.map((item) => item.class_id));
  const byId = new Map([...result.predictions, ...(result.classes ?? [])].map((item) => [item.class_id, item]));
  const ranked = [...byId.values()].sort((one, other) => other.score - one.score);
  return make("ol", "bars", ...ranked.map((item, rank) => bar(item, { rank, present, thresholds, result })));
}

function bar(item, { rank, present, thresholds, result }) {
  const row = view.bar.content.firstElementChild.cloneNode(true);
  row.querySelector(".name").textContent = item.class;
  row.querySelector(".score").textContent = percent(item.score);
  const track = row.querySelector(".track");
  track.style.setProperty("--score", item.score);
  row.classList.toggle("strong", result.classes ? present.has(item.class_id) : rank === 0);
  if (result.classes && thresholds) {
    const threshold = thresholds[item.class_id];
    track.style.setProperty("--threshold", threshold);
    track.classList.add("marked");
    row.querySelector(".name").append(" ", make("small", "", `threshold ${percent(threshold)}`));
  }
  return row;
}

function times({ timing, roundTripMs, pictureCount }) {
  const box = make("div", "times");
  const stages = timing.filter(([stage]) => stage !== "total");
  const total = timing.find(([stage]) => stage === "total")?.[1];
  const line = make("div", "stages");
  const legend = make("ul", "legend");
  for (const [stage, duration] of stages) {
    const part = make("span");
    part.style.setProperty("--part", Math.max(duration, 0.01));
    line.append(part);
    legend.append(make("li", "", `${stage} `, make("b", "", milliseconds(duration))));
  }
  const request = pictureCount > 1 ? `${pictureCount} pictures in one request` : "One request";
  const inside = total === undefined ? "" : `, of which ${milliseconds(total)} in the service`;
  box.append(make("p", "", `${request}: ${milliseconds(roundTripMs)}${inside}`));
  if (stages.length) box.append(line, legend);
  return box;
}

function facts({ result, requestId }) {
  const model = `${result.model.name}, version ${result.model.version}`;
  return make("p", "facts", `${model} · request `, make("code", "", requestId));
}
