// One model on the page /models.

import { make } from "../dom.js";
import { cardRows, versionList } from "../model.js";

/** Show the details of a model: its health, versions, card, and where to go from here. */
export function modelSection(model) {
  const { name, title, description, reason, available, card, versions } = model;
  const heading = make("h2", "", title || name);
  heading.id = `model-${encodeURIComponent(name)}`; // without spaces, which would separate ids
  const badges = make("p", "badges", badge(available ? "available" : "not available", available ? "available" : "failed"));
  if (model.default) badges.append(badge("default"));
  const section = make("section", "", make("div", "heading", heading, badges));
  section.setAttribute("aria-labelledby", heading.id);
  if (description) section.append(make("p", "", description));
  if (reason) section.append(make("p", "problem", reason));
  const rows = [["Name", make("code", "", name)], ...(card ? cardRows(card) : [])];
  if (versions.length) rows.push(["Versions", versionList(versions)]);
  section.append(
    make("dl", "about", ...rows.map(([term, value]) => make("div", "", make("dt", "", term), make("dd", "", value)))),
    links(model),
  );
  return section;
}

function links({ name, available }) {
  const encoded = encodeURIComponent(name);
  const label = (text) => `${text}: ${name}`;
  const actions = available
    ? [
        link("Try it", `.?model=${encoded}`, label("Try it"), "button primary"),
        link("Compare", `compare?a=${encoded}`, label("Compare"), "button"),
      ]
    : [];
  return make("p", "controls", ...actions, link("JSON", `api/v1/models/${encoded}`, label("JSON"), "button"));
}

function link(text, href, name, className) {
  const element = make("a", className, text);
  Object.assign(element, { href, ariaLabel: name });
  return element;
}

function badge(text, className = "") {
  return make("span", `state ${className}`, text);
}
