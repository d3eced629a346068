// The page asks the same API as everybody else; what it sends is what the snippets show.

const element = (id) => document.getElementById(id);
const [model, file, url, link, stage, preview, pad, hint, draw, clear, answer, code] = [
  "model", "file", "url", "link", "stage", "preview", "pad", "hint", "draw", "clear", "answer", "code",
].map(element);

let shown = { name: "picture.png", send: null }; // what was sent last, so that another model can be asked about it
let latest = 0; // answers to earlier questions are dropped

async function fillModels() {
  const response = await fetch("/api/v1/models");
  if (!response.ok) throw await problemOf(response);
  for (const item of (await response.json()).models) {
    const option = new Option(item.title || item.name, item.name, item.default, item.default);
    option.disabled = !item.available;
    model.add(option);
  }
}

function path() {
  return model.value ? `/api/v1/models/${encodeURIComponent(model.value)}/predict` : "/api/v1/predict";
}

async function problemOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return { title: `The service answered ${response.status}`, detail: text.slice(0, 300) };
  }
}

async function ask(name, request, snippets) {
  const mine = ++latest;
  shown = { name, send: () => ask(name, request, snippets) };
  answer.setAttribute("aria-busy", "true");
  const started = performance.now();
  try {
    const response = await fetch(path(), { method: "POST", ...request });
    if (mine !== latest) return;
    if (!response.ok) throw await problemOf(response);
    showAnswer(await response.json(), performance.now() - started);
  } catch (error) {
    if (mine !== latest) return;
    showProblem(error);
  }
  answer.setAttribute("aria-busy", "false");
  showCode(snippets(location.origin + path()));
}

function askBlob(blob, name) {
  const body = new FormData();
  body.append("image", blob, name);
  return ask(name, { body }, (address) => ({
    curl: `curl -F image=@${quoted(name)} ${address}`,
    python: `import requests\n\nwith open(${JSON.stringify(name)}, "rb") as picture:\n    answer = requests.post("${address}", files={"image": picture}, timeout=10)\nprint(answer.json())`,
  }));
}

function askUrl(address) {
  const body = JSON.stringify({ url: address });
  return ask(address, { body, headers: { "Content-Type": "application/json" } }, (target) => ({
    curl: `curl --json ${quoted(body)} ${target}`,
    python: `import requests\n\nanswer = requests.post("${target}", json=${body}, timeout=10)\nprint(answer.json())`,
  }));
}

function quoted(text) {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function make(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function showAnswer(result, milliseconds) {
  const bars = make("ol", "bars", "");
  for (const item of result.predictions) {
    const row = element("bar").content.cloneNode(true);
    row.querySelector(".name").textContent = item.class;
    row.querySelector(".score").textContent = `${(item.score * 100).toFixed(1)} %`;
    const meter = row.querySelector("meter");
    meter.value = item.score;
    meter.setAttribute("aria-label", item.class);
    bars.append(row);
  }
  const facts = `${result.model.name}, version ${result.model.version} · ${Math.round(milliseconds)} ms`;
  const top = result.classes ? result.classes.map((item) => item.class).join(", ") || "none" : result.class;
  answer.replaceChildren(make("p", "top", top), bars, make("p", "facts", facts));
}

function showProblem(error) {
  const box = make("div", "problem", "");
  box.setAttribute("role", "alert");
  const title = error instanceof Error ? "The service cannot be reached" : error.title;
  box.append(make("strong", "", title), error.detail || error.message || "");
  answer.replaceChildren(box);
}

function showCode({ curl, python }) {
  element("curl").textContent = curl;
  element("python").textContent = python;
  code.hidden = false;
}

function showPicture(source) {
  URL.revokeObjectURL(preview.src);
  stopDrawing();
  preview.hidden = !source;
  hint.hidden = Boolean(source);
  if (source) preview.src = source;
}

function takeFile(blob) {
  if (!blob) return;
  showPicture(URL.createObjectURL(blob));
  askBlob(blob, blob.name || "picture.png");
}

// Drawing: dark strokes on white, sent when a stroke ends.

const pen = pad.getContext("2d");

function wipe() {
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, pad.width, pad.height);
}

function startDrawing() {
  showPicture(null);
  hint.hidden = true;
  pad.hidden = clear.hidden = false;
  draw.setAttribute("aria-pressed", "true");
  wipe();
}

function stopDrawing() {
  pad.hidden = clear.hidden = true;
  draw.setAttribute("aria-pressed", "false");
}

function point(event) {
  const box = pad.getBoundingClientRect();
  return [((event.clientX - box.left) * pad.width) / box.width, ((event.clientY - box.top) * pad.height) / box.height];
}

pad.addEventListener("pointerdown", (event) => {
  pad.setPointerCapture(event.pointerId);
  Object.assign(pen, { lineWidth: 20, lineCap: "round", lineJoin: "round", strokeStyle: "#111" });
  pen.beginPath();
  pen.moveTo(...point(event));
  pen.lineTo(...point(event));
  pen.stroke();
});

pad.addEventListener("pointermove", (event) => {
  if (!pad.hasPointerCapture(event.pointerId)) return;
  pen.lineTo(...point(event));
  pen.stroke();
});

pad.addEventListener("pointerup", () => pad.toBlob((blob) => askBlob(blob, "drawing.png")));

draw.addEventListener("click", () => (pad.hidden ? startDrawing() : showPicture(null)));
clear.addEventListener("click", wipe);

file.addEventListener("change", () => {
  takeFile(file.files[0]);
  file.value = "";
});

link.addEventListener("submit", (event) => {
  event.preventDefault();
  showPicture(null); // the page loads nothing from elsewhere; the service does
  askUrl(url.value);
});

stage.addEventListener("dragover", (event) => {
  event.preventDefault();
  stage.classList.add("over");
});
stage.addEventListener("dragleave", () => stage.classList.remove("over"));
stage.addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("over");
  takeFile(event.dataTransfer.files[0]);
});

document.addEventListener("paste", (event) => takeFile(event.clipboardData.files[0]));
model.addEventListener("change", () => shown.send?.());

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(element(button.dataset.copy).textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}

fillModels().catch(showProblem);
