// Helpers to read and change the page.

/** The elements of the page, by id. */
export const view = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));

/** Create an element; strings in `content` become text, never markup. */
export function make(tag, className = "", ...content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

export function percent(score) {
  return `${(score * 100).toFixed(1)} %`;
}

export function milliseconds(duration) {
  return `${duration < 10 ? duration.toFixed(1) : Math.round(duration)} ms`;
}
