// What the page shows. Modules read it here, change it by `choose` and `change`, and listen for the events of others.

/**
 * A picture has a name and either a blob or a url. `objectUrl` is its address within the page, `upload` what is sent
 * instead of the blob if that is scaled down, `answer` its result or problem, and `isGenerated` says whether it was
 * created on this page.
 *
 * While pictures are classified, `progress` has a `stage` (`preparing`, `uploading`, `waiting` or `retrying`), how many
 * of `count` pictures are `done`, the `fraction` of the upload, and the `problem` that a retry follows; then it is null.
 *
 * Events:
 * - `choices`: the model, its version or a switch was chosen; `detail` holds what changed.
 * - `model`: the details of the chosen model arrived, or were forgotten.
 * - `pictures`: others were chosen, or all removed.
 * - `selection`: another one of the pictures is shown.
 * - `answers`: answers arrived or were removed.
 * - `progress`: as it says.
 */
class State extends EventTarget {
  choices = { model: "", version: "", explain: false, original: false };
  defaultModel = "";
  model = null;
  pictures = [];
  selected = 0;
  progress = null;

  get picture() {
    return this.pictures[this.selected];
  }

  on(type, listener) {
    this.addEventListener(type, listener);
  }

  /** A promise of the next event. */
  next(type) {
    return new Promise((resolve) => this.addEventListener(type, resolve, { once: true }));
  }

  change(type, values = {}, detail = null) {
    Object.assign(this, values);
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Change some of the choices; those that have the value already are left out of the event. */
  choose(values) {
    const changed = Object.fromEntries(Object.entries(values).filter(([name, value]) => this.choices[name] !== value));
    if (Object.keys(changed).length) this.change("choices", { choices: { ...this.choices, ...changed } }, changed);
  }
}

export const state = new State();
