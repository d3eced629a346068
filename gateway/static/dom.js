// Shared by what writes into the page.

/** Every element of the page that has an id, by it. */
export const view = Object.fromEntries([...document.querySelectorAll("[id]")].map((found) => [found.id, found]));

/** Make an element; text is text, never markup. */
export function make(tag, className = "", ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

export function percent(score) {
  return `${(score * 100).toFixed(1)} %`;
}

export function milliseconds(duration) {
  return `${duration < 10 ? duration.toFixed(1) : Math.round(duration)} ms`;
}
