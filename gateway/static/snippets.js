// The request of the page as code to copy.

import { predictPath } from "./api.js";

const KEY = "IMAGE_GATEWAY_API_KEY"; // read by the client's command too; a key itself is never shown

/** `request` has the options of `predictPath` and `needsKey`; each picture has a file name or a url. */
export function curl(service, request, pictures) {
  const target = quote(`${service}/${predictPath(request)}`);
  const parts = pictures.map(({ name, url }) =>
    url ? `-H "Content-Type: application/json" -d ${quote(JSON.stringify({ url }))}` : `-F ${quote(`image=@${formFile(name)}`)}`,
  );
  const key = request.needsKey ? [`-H "Authorization: Bearer $${KEY}"`] : [];
  return `curl ${[...key, ...parts, target].join(" \\\n  ")}`;
}

/** For the Python client, `image_gateway_client`. */
export function python(service, request, pictures) {
  const images = pictures.map(({ name, url }) => JSON.stringify(url ?? name));
  const options = pythonOptions(request);
  const key = request.needsKey ? `, api_key=os.environ["${KEY}"]` : "";
  const gateway = `with Client(${JSON.stringify(service)}${key}) as gateway:`;
  const savesHeatMap = request.explain && images.length === 1;
  const modules = [request.needsKey && "import os", savesHeatMap && "from pathlib import Path"].filter(Boolean);
  const importLines = modules.length ? `${modules.join("\n")}\n\n` : "";
  if (images.length > 1) {
    return `${importLines}from image_gateway_client import Answer, Client

pictures = [${images.join(", ")}]
${gateway}
    answers = gateway.classify_many(${["pictures", ...options].join(", ")})
    for picture, answer in zip(pictures, answers):
        print(picture, (answer.label, answer.confident) if isinstance(answer, Answer) else answer)`;
  }
  const saveLine = savesHeatMap ? '\nPath("heatmap.png").write_bytes(answer.explanation.png)' : "";
  return `${importLines}from image_gateway_client import Client

${gateway}
    answer = gateway.classify(${[images[0], ...options].join(", ")})
print(answer.label, answer.score, answer.confident)${saveLine}`;
}

/** For Node 20 or newer, as a module. */
export function javascript(service, request, pictures) {
  const { url } = pictures[0];
  const headers = [
    request.needsKey && `Authorization: \`Bearer \${process.env.${KEY}}\``,
    url && '"Content-Type": "application/json"',
  ].filter(Boolean);
  const lines = [
    ...(url ? [] : formLines(pictures)),
    `const response = await fetch(${JSON.stringify(`${service}/${predictPath(request)}`)}, {`,
    '  method: "POST",',
    ...(headers.length ? [`  headers: { ${headers.join(", ")} },`] : []),
    `  body: ${url ? `JSON.stringify({ url: ${JSON.stringify(url)} })` : "form"},`,
    "});",
    "const answer = await response.json();",
    "if (!response.ok) throw new Error(`${answer.title}: ${answer.detail}`);",
    pictures.length > 1
      ? "for (const result of answer.results) console.log(result.class ?? result.detail);"
      : "console.log(answer.class, answer.score);",
  ];
  return lines.join("\n");
}

function formLines(pictures) {
  const names = pictures.map(({ name }) => JSON.stringify(name));
  const append = (name) => `form.append("image", await openAsBlob(${name}), ${name});`;
  return [
    'import { openAsBlob } from "node:fs";',
    "",
    "const form = new FormData();",
    ...(names.length > 1 ? [`for (const name of [${names.join(", ")}]) ${append("name")}`] : [append(names[0])]),
  ];
}

function pythonOptions({ model, version, explain }) {
  const options = [];
  if (model) options.push(`model=${JSON.stringify(model)}`);
  const [kind, value] = version.split("/");
  if (kind === "versions") options.push(`version=${Number(value)}`); // from the address, it may be any text
  if (kind === "labels") options.push(`label=${JSON.stringify(decodeURIComponent(value))}`);
  if (explain) options.push("explain=True");
  return options;
}

/** For a POSIX shell. */
function quote(text) {
  return /^[\w@:=./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** For curl's -F, which reads commas and semicolons as its own (curl(1), --form). */
function formFile(name) {
  return /[,;"\\]/.test(name) ? `"${name.replaceAll(/["\\]/g, "\\$&")}"` : name;
}
