// Helpers to read and change the page, and to write numbers.

/** The elements of the page, by id. */
export const view = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));

/** Create an element; strings in `content` become text, never markup. */
export function make(tag, className = "", ...content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

export function makeButton(text, onClick) {
  const button = make("button", "", text);
  button.type = "button";
  button.addEventListener("click", onClick);
  return button;
}

export function percent(score) {
  return `${(score * 100).toFixed(1)} %`;
}

export function milliseconds(duration) {
  return `${duration < 10 ? duration.toFixed(1) : Math.round(duration)} ms`;
}

/** `317 bytes`, `12.3 kB`, `11.3 MB`: decimal units, as file managers show them. */
export function fileSize(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  const [amount, unit] = bytes < 1_000_000 ? [bytes / 1000, "kB"] : [bytes / 1_000_000, "MB"];
  return `${amount < 100 ? amount.toFixed(1) : Math.round(amount)} ${unit}`;
}
