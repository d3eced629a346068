// Names and keyboard access that Swagger UI leaves out, for controls that appear as the reader opens operations.

const NAMES = [
  ["tr[data-param-name] :is(select, input, textarea)", (control) => control.closest("tr").dataset.paramName],
  ["tr[data-property-name] :is(select, input, textarea)", (control) => control.closest("tr").dataset.propertyName],
  ["select.examples-select-element", () => "Example"],
  ["textarea.body-param__text", () => "Request body"],
  ["button.json-schema-form-item-remove", () => "Remove"],
  ["button.close-modal", () => "Close"],
];
const SCROLLED = ".swagger-ui :is(.highlight-code pre, pre.microlight, .responses-table, .model-box):not([tabindex])";

/** Name the controls below `root`, now and whenever it changes. */
export function nameControls(root) {
  new MutationObserver(() => update(root)).observe(root, { childList: true, subtree: true });
}

function update(root) {
  for (const [selector, name] of NAMES) {
    for (const control of root.querySelectorAll(`:is(${selector}):not([aria-label])`)) control.ariaLabel = name(control);
  }
  // The name of a button must contain what it says, for those who speak to their computer.
  for (const button of root.querySelectorAll("button.authorize[aria-label]")) button.ariaLabel = button.textContent;
  for (const icon of root.querySelectorAll("svg:not([aria-hidden])")) icon.ariaHidden = "true";
  for (const element of root.querySelectorAll(SCROLLED)) element.tabIndex = 0;
}
