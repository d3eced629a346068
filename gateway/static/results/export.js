// The answers for several pictures as CSV or JSON, in the form that `image-gateway classify --out` writes.

const BEFORE_RANKS = ["image", "class", "class_id", "score"];
const AFTER_RANKS = ["classes", "model", "version", "problem", "detail", "confident"];
const TOP_K = 5; // the default of the API
// Spreadsheets make formulas of such cells (OWASP, CSV injection).
const FORMULA = /^'*[=+\-@\t\r]/;

export function toCsv(pictures) {
  const ranks = Array.from({ length: TOP_K - 1 }, (_, index) => [`class_${index + 2}`, `score_${index + 2}`]).flat();
  const columns = [...BEFORE_RANKS, ...ranks, ...AFTER_RANKS];
  const rows = pictures.map((picture) => {
    const cells = cellsOf(picture);
    return columns.map((column) => cell(cells[column] ?? ""));
  });
  return [columns, ...rows].map((row) => `${row.join(",")}\n`).join("");
}

export function toJson(pictures) {
  return `[\n${pictures.map((picture) => JSON.stringify(documentOf(picture))).join(",\n")}\n]\n`;
}

function cellsOf({ name, answer: { problem, result } }) {
  if (problem) return { image: name, problem: problem.message, detail: problem.detail };
  const cells = {
    image: name,
    class: result.class,
    class_id: result.class_id,
    score: result.score,
    classes: (result.classes ?? []).map((item) => item.class).join("; "),
    model: result.model.name,
    version: result.model.version,
    confident: result.confident,
  };
  result.predictions.slice(1, TOP_K).forEach((item, index) => {
    cells[`class_${index + 2}`] = item.class;
    cells[`score_${index + 2}`] = item.score;
  });
  return cells;
}

function cell(value) {
  const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function documentOf({ name, answer: { problem, result, requestId } }) {
  if (problem) {
    const { type, message, status, detail } = problem;
    return { image: name, kind: "problem", problem: { type, title: message, status, detail, request_id: problem.requestId } };
  }
  const { model, explanation, ...prediction } = result; // the heat map would be most of the file
  return { image: name, ...prediction, model, request_id: requestId };
}
