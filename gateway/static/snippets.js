// What the page sends, as lines to copy.

import { predictPath } from "./api.js";

/** `question` is as for `predictPath`; of the pictures each has the name of a file, or a url. */
export function curl(origin, question, pictures) {
  const target = quoted(origin + predictPath(question));
  const parts = pictures.map(({ name, url }) =>
    url ? `--json ${quoted(JSON.stringify({ url }))}` : `-F ${quoted(`image=@${formFile(name)}`)}`,
  );
  return `curl ${[...parts, target].join(" \\\n  ")}`;
}

/** For the client in this project's folder `client`. */
export function python(origin, question, pictures) {
  const images = pictures.map(({ name, url }) => JSON.stringify(url ?? name));
  const options = pythonOptions(question);
  const gateway = `with ImageGatewayClient(${JSON.stringify(origin)}) as gateway:`;
  if (images.length > 1) {
    return `from client import Answer, ImageGatewayClient

pictures = [${images.join(", ")}]
${gateway}
    answers = gateway.classify_many(${["pictures", ...options].join(", ")})
    for picture, answer in zip(pictures, answers):
        print(picture, answer.label if isinstance(answer, Answer) else answer)`;
  }
  const [imported, kept] = question.explain
    ? ["from pathlib import Path\n\n", '\nPath("heatmap.png").write_bytes(answer.explanation.png)']
    : ["", ""];
  return `${imported}from client import ImageGatewayClient

${gateway}
    answer = gateway.classify(${[images[0], ...options].join(", ")})
print(answer.label, answer.score)${kept}`;
}

function pythonOptions({ model, version, explain }) {
  const options = [];
  if (model) options.push(`model=${JSON.stringify(model)}`);
  const [kind, value] = version.split("/");
  if (kind === "versions") options.push(`version=${value}`);
  if (kind === "labels") options.push(`label=${JSON.stringify(decodeURIComponent(value))}`);
  if (explain) options.push("explain=True");
  return options;
}

/** For a POSIX shell. */
function quoted(text) {
  return /^[\w@:=./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** For curl's -F, which reads commas and semicolons as its own (curl(1), --form). */
function formFile(name) {
  return /[,;"\\]/.test(name) ? `"${name.replaceAll(/["\\]/g, "\\$&")}"` : name;
}
