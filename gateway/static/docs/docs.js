// The page /docs: Swagger UI with this service's document, and with the form for files open.

import { nameControls } from "./controls.js";
import { adapt } from "./document.js";

const FIRST_OPERATION = ["operations", "Predict", "predict"]; // takes files, for the default model
const docs = document.getElementById("docs");
const service = new URL(".", document.baseURI).pathname;

const plugin = {
  // Swagger UI puts a link into each button that opens an operation; a control inside of a control has no defined role.
  wrapComponents: { DeepLink: (_, { React }) => ({ text }) => React.createElement("span", {}, text) },
  statePlugins: { spec: { wrapActions: { updateJsonSpec: (update) => (api) => update(adapt(api, service)) } } },
};

function openFirstOperation() {
  if (!location.hash) ui.layoutActions.show(FIRST_OPERATION, true);
  // Operations stay hidden until it is drawn: those below it would move down before the reader's eyes.
  requestAnimationFrame(() => requestAnimationFrame(() => docs.classList.add("ready")));
}

function showColours({ matches }) {
  document.documentElement.classList.toggle("dark-mode", matches);
}

const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", showColours);
showColours(dark);
nameControls(docs);

// Without `validatorUrl: null`, Swagger UI would send the document to validator.swagger.io.
const ui = SwaggerUIBundle({
  url: new URL("api/v1/openapi.json", document.baseURI).href,
  dom_id: "#docs",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  plugins: [plugin],
  tryItOutEnabled: true,
  validatorUrl: null,
  onComplete: openFirstOperation,
});
