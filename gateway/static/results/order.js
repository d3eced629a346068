// Orders of several pictures.

import { isUnsure } from "../answer.js";

const COLLATOR = new Intl.Collator("en", { numeric: true });
const LAST = "\uffff";

const KEYS = {
  name: (one, other) => COLLATOR.compare(one.name, other.name),
  class: (one, other) => COLLATOR.compare(classOf(one), classOf(other)) || scoreOf(other) - scoreOf(one),
  score: (one, other) => scoreOf(one) - scoreOf(other),
  problems: (one, other) => rank(one) - rank(other) || scoreOf(one) - scoreOf(other),
};

/** The pictures in an order: `chosen`, `name`, `class`, `score` (the lowest first) or `problems` (then doubts) first. */
export function sorted(pictures, order) {
  return KEYS[order] ? [...pictures].sort(KEYS[order]) : pictures;
}

function classOf({ answer }) {
  return answer?.result?.class ?? answer?.result?.predictions[0]?.class ?? LAST;
}

/** Pictures without a score come last when ordered by it. */
function scoreOf({ answer }) {
  return answer?.result?.score ?? answer?.result?.predictions[0]?.score ?? 2;
}

function rank({ answer }) {
  if (answer?.problem) return 0;
  return answer?.result && isUnsure(answer.result) ? 1 : 2;
}
