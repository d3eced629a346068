// What the page sends, as lines to copy.

import { predictPath } from "./api.js";

const KEY = "IMAGE_GATEWAY_API_KEY"; // the client's command reads it too; no key is ever written out

/** `question` is as for `predictPath`, and says whether it needs a key; each picture has the name of a file, or a url. */
export function curl(origin, question, pictures) {
  const target = quoted(origin + predictPath(question));
  const parts = pictures.map(({ name, url }) =>
    url ? `--json ${quoted(JSON.stringify({ url }))}` : `-F ${quoted(`image=@${formFile(name)}`)}`,
  );
  const key = question.keyed ? [`-H "Authorization: Bearer $${KEY}"`] : [];
  return `curl ${[...key, ...parts, target].join(" \\\n  ")}`;
}

/** For the client in this project's folder `client`. */
export function python(origin, question, pictures) {
  const images = pictures.map(({ name, url }) => JSON.stringify(url ?? name));
  const options = pythonOptions(question);
  const key = question.keyed ? `, api_key=os.environ["${KEY}"]` : "";
  const gateway = `with Client(${JSON.stringify(origin)}${key}) as gateway:`;
  const keepsHeatMap = question.explain && images.length === 1;
  const modules = [question.keyed && "import os", keepsHeatMap && "from pathlib import Path"].filter(Boolean);
  const imported = modules.length ? `${modules.join("\n")}\n\n` : "";
  if (images.length > 1) {
    return `${imported}from image_gateway_client import Answer, Client

pictures = [${images.join(", ")}]
${gateway}
    answers = gateway.classify_many(${["pictures", ...options].join(", ")})
    for picture, answer in zip(pictures, answers):
        print(picture, answer.label if isinstance(answer, Answer) else answer)`;
  }
  const kept = keepsHeatMap ? '\nPath("heatmap.png").write_bytes(answer.explanation.png)' : "";
  return `${imported}from image_gateway_client import Client

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
