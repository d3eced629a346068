// The classes of a model: closed at first, and with a search if there are many.

import { make } from "./dom.js";

const SEARCHED = 30; // classes from which on there is a search

/** A list that opens, with the number of classes as its title; its items are created once it is open. */
export function labelList(labels) {
  const box = make("details", "", make("summary", "", labels.length.toLocaleString("en")));
  box.addEventListener("toggle", () => box.append(...content(labels)), { once: true });
  return box;
}

function content(labels) {
  const items = labels.map((label) => make("li", "", label));
  const list = make("ul", "labels", ...items);
  list.tabIndex = 0; // scrolls
  list.ariaLabel = "Classes";
  return labels.length > SEARCHED ? [search(items), list] : [list];
}

function search(items) {
  const field = make("input");
  Object.assign(field, { type: "search", placeholder: "Search the classes", ariaLabel: "Search the classes", autocomplete: "off" });
  field.addEventListener("input", () => {
    const text = field.value.trim().toLowerCase();
    for (const item of items) item.hidden = !item.textContent.toLowerCase().includes(text);
  });
  return field;
}
