// One picture of the comparison: what both sides say, and their scores in aligned bars.

import { make } from "../dom.js";
import { agrees, comparedClasses, statement } from "./agreement.js";

/** A picture that opens to its scores; `sides` are those of `sideOf`. */
export function pictureDetails({ name, objectUrl, answers }, sides, isOpen) {
  const image = make("img");
  Object.assign(image, { src: objectUrl, alt: "", width: 64, height: 64 });
  image.addEventListener("error", () => image.classList.add("broken"));
  const agreement = agrees(answers);
  const [mark, style] = agreement === null ? ["problem", "failed"] : agreement ? ["same", "available"] : ["differs", ""];
  const text = make("span", "statement", make("strong", "", statement(answers)), make("span", `state ${style}`, mark), " ", make("small", "", name));
  const details = make("details", "comparison", make("summary", "", image, text), ...scores(answers, sides));
  details.open = isOpen;
  details.dataset.agreement = mark;
  return details;
}

function scores(answers, sides) {
  const reasons = new Set(answers.map(({ problem }) => problem?.detail).filter(Boolean));
  const problems = [...reasons].map((reason) => make("p", "problem", reason));
  if (answers.every(({ problem }) => problem)) return problems;
  const head = ["Class", "A", "B"].map((text) => {
    const cell = make("th", "", text);
    cell.scope = "col";
    return cell;
  });
  const rows = comparedClasses(answers, sides.map(({ labels }) => labels)).map(classRow);
  const table = make("table", "", make("caption", "", `A is ${sides[0].title}. B is ${sides[1].title}.`), make("thead", "", make("tr", "", ...head)), make("tbody", "", ...rows));
  return [...problems, table];
}

function classRow({ name, scores: values, texts }) {
  const cells = values.map((score, side) => {
    const track = make("span", "track", ...(score === null ? [] : [make("span", "fill")]));
    track.style.setProperty("--score", score);
    return make("td", "", make("span", "", texts[side]), track);
  });
  const heading = make("th", "", name);
  heading.scope = "row";
  return make("tr", "", heading, ...cells);
}
