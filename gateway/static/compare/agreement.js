// Whether two answers for the same picture agree, in words, and the classes to show beside each other.

import { percent } from "../dom.js";

const SHOWN = 3; // best classes of each side

/** Whether both sides name the same classes; null if one of them has no result. */
export function agrees([a, b]) {
  if (a.problem || b.problem) return null;
  return named(a.result) === named(b.result);
}

/** One sentence, such as `Both say 7.` or `A says 7, B is not sure, perhaps 1.` */
export function statement(answers) {
  const [a, b] = answers;
  if (a.problem && a.problem.message === b.problem?.message) return `${a.problem.message}.`;
  if (a.problem || b.problem) {
    const failures = [["A", a], ["B", b]].filter(([, { problem }]) => problem);
    return failures.map(([side, { problem }]) => `${side}: ${problem.message}.`).join(" ");
  }
  const isSure = answers.every(({ result }) => result.confident !== false);
  if (agrees(answers) && isSure) return `Both say ${named(a.result)}.`;
  return `A ${verdict(a.result)}, B ${verdict(b.result)}.`;
}

/** `3 of 10 pictures differ.`, with those that could not be compared; `labels` has the classes of each side. */
export function summarise(pairs, labels) {
  const [differ, failed] = [false, null].map((value) => pairs.filter((pair) => agrees(pair) === value).length);
  const compared = pairs.length - failed;
  const sentences = [];
  if (compared) sentences.push(differ ? `${differ} of ${count(compared)} ${differ === 1 ? "differs" : "differ"}.` : `No difference: both name the same classes for ${count(compared)}.`);
  if (failed) sentences.push(`${count(failed)} could not be compared.`);
  if (!labels[0].some((label) => labels[1].includes(label))) sentences.push("The two models have no class in common.");
  return sentences.join(" ");
}

/** Classes with their texts and scores on both sides, best first: `{ name, scores: [number or null, …], texts: […] }`. */
export function comparedClasses(answers, labels) {
  const best = answers.flatMap(({ result }) => [...(result?.predictions.slice(0, SHOWN) ?? []), ...(result?.classes ?? [])]);
  const names = [...new Set(best.map((item) => item.class))];
  const rows = names.map((name) => {
    const scores = answers.map(({ result }) => scoreOf(result, name));
    return { name, scores, texts: scores.map((score, side) => scoreText(score, answers[side].result, labels[side].includes(name))) };
  });
  return rows.sort((one, other) => Math.max(...other.scores) - Math.max(...one.scores));
}

function named({ classes, class: best }) {
  if (!classes) return best;
  return classes.map((item) => item.class).sort().join(", ") || "none of the classes";
}

function verdict(result) {
  return result.confident === false ? `is not sure, perhaps ${named(result)}` : `says ${named(result)}`;
}

function scoreOf(result, name) {
  const items = [...(result?.predictions ?? []), ...(result?.classes ?? [])];
  return items.find((item) => item.class === name)?.score ?? null;
}

function scoreText(score, result, isClass) {
  if (!result) return "problem";
  if (score !== null) return percent(score);
  return isClass ? `below ${percent(result.predictions.at(-1)?.score ?? 1)}` : "not a class";
}

function count(pictures) {
  return `${pictures} ${pictures === 1 ? "picture" : "pictures"}`;
}
