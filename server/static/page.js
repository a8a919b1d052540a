// The try-it page: one picture, one demand, one answer. Talks to ../subnets and ../predict only.
import { SAMPLES } from "./samples.js";

const $ = (id) => document.getElementById(id);
const SLOWEST = 1000, FASTEST = 0.1;  // milliseconds at the slider's ends; its last step means no limit

let picture = null;  // the Blob that is asked about
let asked = 0;       // numbers the questions, so that a late answer never replaces a newer one
let timer = 0;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const percent = (ratio, digits = 1) => (ratio == null ? "–" : `${(100 * ratio).toFixed(digits)} %`);

function milliseconds(value) {
  if (value >= 1000) return `${(value / 1000).toPrecision(3)} s`;
  if (value >= 99.5) return `${Math.round(value)} ms`;
  return value >= 0.0995 || value <= 0 ? `${value.toPrecision(2)} ms` : `${(1000 * value).toPrecision(2)} µs`;
}

function budget() {
  const step = Number($("budget").value);
  return step === 100 ? null : Number((FASTEST * (SLOWEST / FASTEST) ** (step / 99)).toPrecision(2));
}

function showBudget() {
  const value = budget();
  const text = value == null ? "no limit" : milliseconds(value);
  $("budget-text").textContent = text;
  $("budget").setAttribute("aria-valuetext", text);
}

function subnetRow(subnet) {
  const input = element("input", { type: "radio", name: "subnet", value: subnet.name });
  const label = element("label", {}, input, subnet.name || "Automatic");
  const row = element("tr", {}, element("td", {}, label));
  if (!subnet.name) {
    input.checked = true;
    row.append(element("td", { colSpan: 4, className: "note", textContent: "the most accurate that fits" }));
    return row;
  }
  row.dataset.subnet = subnet.name;
  row.append(
    element("td", { textContent: percent(subnet.sparsity, 0) }),
    element("td", { textContent: percent(subnet.accuracy) }),
    element("td", { textContent: milliseconds(subnet.p50_ms) }),
    element("td", { textContent: milliseconds(subnet.p99_ms) }),
  );
  return row;
}

async function loadModel() {
  const response = await fetch("subnets");
  const model = await response.json();
  if (!response.ok) {
    $("model").textContent = model.error;
    setTimeout(loadModel, 1000);  // still being profiled
    return;
  }
  const [channels, height, width] = model.input;
  $("model").textContent =
    `${model.model} · ${model.subnets.length} sub-nets · ${model.labels.length} labels · ${width} × ${height}`
    + (channels === 1 ? " grey" : "") + (model.synthetic ? " · synthetic weights" : "");
  $("subnets").replaceChildren(...[{ name: "" }, ...model.subnets].map(subnetRow));
  const known = Object.entries(SAMPLES).filter(([name]) => model.labels.includes(name));
  $("samples").replaceChildren(...known.map(sampleButton));
  $("samples").hidden = known.length === 0;
}

function sampleButton([name, draw]) {
  const canvas = element("canvas", { width: 96, height: 96 });
  draw(canvas.getContext("2d"));
  const button = element("button", { type: "button", title: `Drawn ${name}` }, canvas);
  button.setAttribute("aria-label", `Drawn ${name}`);
  button.onclick = () => canvas.toBlob((blob) => show(blob, `drawn ${name}`), "image/png");
  return button;
}

function show(blob, name) {
  if (!blob) return;
  picture = blob;
  const preview = $("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(blob);
  preview.alt = `Chosen picture: ${name}`;
  preview.hidden = false;
  $("hint").hidden = true;
  ask();
}

function askSoon() {
  clearTimeout(timer);
  timer = setTimeout(ask, 120);
}

async function ask() {
  if (!picture) return;
  const question = ++asked;
  const headers = {};
  const pin = document.querySelector("input[name=subnet]:checked")?.value;
  if (budget() != null) headers["X-Latency-Budget-Ms"] = String(budget());
  if (pin) headers["X-Subnet"] = pin;
  let answer;
  try {
    const response = await fetch("predict", { method: "POST", headers, body: picture });
    answer = await response.json();
  } catch {
    answer = { error: "The server cannot be reached." };
  }
  if (question === asked) render(answer);
}

function render(answer) {
  const status = $("status");
  status.className = answer.error ? "bad" : "";
  $("result").hidden = Boolean(answer.error);
  for (const row of $("subnets").rows) row.classList.toggle("answered", !answer.error && row.dataset.subnet === answer.subnet);
  if (answer.error) {
    status.textContent = answer.error[0].toUpperCase() + answer.error.slice(1);
    return;
  }
  const best = answer.predictions[0];
  status.replaceChildren(
    element("strong", { textContent: best.label }),
    `, ${percent(best.probability)}, answered by ${answer.subnet} in ${milliseconds(answer.timing.total_ms)}`,
  );
  $("labels").replaceChildren(...answer.predictions.map(labelBar));
  const remaining = answer.latency_budget_remaining_ms;
  const facts = { "Sub-net": answer.subnet, Sparsity: percent(answer.sparsity), Accuracy: percent(answer.accuracy),
    Engine: answer.engine };
  if (remaining != null) facts["Budget left"] = remaining < 0 ? "none" : milliseconds(remaining);
  $("facts").replaceChildren(...Object.entries(facts).map(([name, value]) =>
    element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value }))));
  timeline(answer.timing);
}

function labelBar({ label, probability }) {
  const bar = element("i");
  bar.style.width = `${100 * probability}%`;
  const frame = element("span", { className: "bar" }, bar);
  frame.setAttribute("aria-hidden", "true");
  return element("li", {}, element("span", { textContent: label }),
    element("span", { textContent: percent(probability) }), frame);
}

function timeline({ queue_ms, infer_ms, total_ms }) {
  const parts = [["queue", "queue", queue_ms], ["infer", "inference", infer_ms],
    ["other", "upload and decoding", Math.max(0, total_ms - queue_ms - infer_ms)]];
  $("timeline").replaceChildren(...parts.map(([kind, , value]) => {
    const part = element("i", { className: kind });
    part.style.width = `${(100 * value) / total_ms}%`;
    return part;
  }));
  $("timeline").setAttribute("aria-label", parts.map(([, name, value]) => `${name} ${milliseconds(value)}`).join(", "));
  $("legend").replaceChildren(...parts.map(([kind, name, value]) =>
    element("li", {}, element("i", { className: kind }), `${name} ${milliseconds(value)}`)));
}

$("budget").addEventListener("input", () => { showBudget(); askSoon(); });
$("subnets").addEventListener("change", askSoon);
$("file").addEventListener("change", (event) => show(event.target.files[0], event.target.files[0]?.name));
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  show(file, file?.name);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") show(event.dataTransfer.files[0], event.dataTransfer.files[0]?.name);
  });
}
showBudget();
loadModel();
