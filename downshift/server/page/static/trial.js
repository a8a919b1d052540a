// The try-it panel: one picture, one demand, one answer.
import { $, element } from "./dom.js";
import { milliseconds, percent } from "./format.js";
import { SAMPLES } from "./samples.js";

const PAUSE = 150;  // milliseconds between questions that repeat

export class Trial {
  model = null;
  picture = null;  // the Blob that is asked about
  asked = 0;       // numbers the questions, so that a late answer never replaces a newer one
  fastest = 0.1;   // milliseconds at the slider's ends; its last step means no limit
  slowest = 1000;

  constructor(onBudget, onAnswer) {
    this.onBudget = onBudget;
    this.onAnswer = onAnswer;
    $("budget").addEventListener("input", () => { this.showBudget(); this.askSoon(); });
    $("subnets").addEventListener("change", () => this.askSoon());
    $("file").addEventListener("change", ({ target }) => this.show(target.files[0], target.files[0]?.name));
    $("repeat").addEventListener("click", () => this.repeat(!this.repeating));
    document.addEventListener("paste", ({ clipboardData }) => {
      const file = [...clipboardData.files].find(({ type }) => type.startsWith("image/"));
      this.show(file, file?.name);
    });
    for (const kind of ["dragover", "dragleave", "drop"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        $("drop").classList.toggle("over", kind === "dragover");
        if (kind === "drop") this.show(event.dataTransfer.files[0], event.dataTransfer.files[0]?.name);
      });
    }
  }

  use(model) {
    this.model = model.model;
    this.fastest = below(Math.min(...model.subnets.map(({ p50_ms }) => p50_ms)) / 2);
    this.slowest = Math.max(100, below(20 * Math.max(...model.subnets.map(({ p99_ms }) => p99_ms))));
    const middle = (this.fastest * this.slowest) ** 0.5;
    $("budget-scale").replaceChildren(...[milliseconds(this.fastest), milliseconds(below(middle)), "no limit"].map((text) => element("span", { textContent: text })));
    const known = Object.entries(SAMPLES).filter(([name]) => model.labels.includes(name));
    $("samples").replaceChildren(...known.map((sample) => this.sample(sample)));
    $("samples").hidden = known.length === 0;
    this.showBudget();
  }

  get budget() {
    const step = Number($("budget").value);
    return step === 100 ? null : Number((this.fastest * (this.slowest / this.fastest) ** (step / 99)).toPrecision(2));
  }

  showBudget() {
    const text = this.budget == null ? "no limit" : milliseconds(this.budget);
    $("budget-text").textContent = text;
    $("budget").setAttribute("aria-valuetext", text);
    this.onBudget(this.budget);
  }

  sample([name, draw]) {
    const canvas = element("canvas", { width: 96, height: 96 });
    draw(canvas.getContext("2d"));
    const button = element("button", { type: "button", title: `Drawn ${name}` }, canvas);
    button.setAttribute("aria-label", `Drawn ${name}`);
    button.onclick = () => canvas.toBlob((blob) => this.show(blob, `drawn ${name}`), "image/png");
    return button;
  }

  show(blob, name) {
    if (!blob) return;
    this.picture = blob;
    const preview = $("preview");
    URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(blob);
    preview.alt = `Chosen picture: ${name}`;
    preview.hidden = false;
    preview.onerror = () => { preview.hidden = true; $("hint").hidden = false; };  // a TIFF, which browsers do not show
    $("hint").hidden = true;
    $("repeat").disabled = false;
    this.ask();
  }

  askSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), 120);
  }

  async repeat(on) {
    this.repeating = on;
    $("repeat").setAttribute("aria-pressed", String(on));
    $("repeat").textContent = on ? "Stop asking" : "Keep asking";
    if (on) $("status").setAttribute("aria-live", "off");  // ten answers a second are not for reading aloud
    else $("status").removeAttribute("aria-live");
    while (this.repeating) {
      await this.ask();
      await new Promise((done) => setTimeout(done, PAUSE));
    }
  }

  async ask() {
    if (!this.picture) return;
    const question = ++this.asked, headers = {};
    const pin = document.querySelector("input[name=subnet]:checked")?.value;
    if (this.budget != null) headers["X-Latency-Budget-Ms"] = String(this.budget);
    if (pin) headers["X-Subnet"] = pin;
    let answer;
    try {
      const where = `predict?${new URLSearchParams({ model: this.model })}`;
      const response = await fetch(where, { method: "POST", headers, body: this.picture });
      answer = await response.json();
    } catch {
      answer = { error: "the server cannot be reached" };
    }
    if (question === this.asked) this.render(answer, this.budget);
  }

  render(answer, budget) {
    const status = $("status");
    status.className = answer.error ? "bad" : "";
    $("result").hidden = Boolean(answer.error);
    this.onAnswer(answer.error ? null : answer.subnet);
    if (answer.error) {
      status.textContent = `${answer.error[0].toUpperCase()}${answer.error.slice(1)}.`;
      return;
    }
    const best = answer.predictions[0];
    status.replaceChildren(element("strong", { textContent: best.label }), ` ${percent(best.probability)}`,
      element("span", { className: "by", textContent: `answered by ${answer.subnet} in ${milliseconds(answer.timing.total_ms)}` }));
    $("labels").replaceChildren(...answer.predictions.map(labelBar));
    const left = answer.latency_budget_remaining_ms;
    const facts = { "Sub-net": answer.subnet, Sparsity: percent(answer.sparsity, 0), "Its accuracy": percent(answer.accuracy),
      Engine: answer.engine, "Budget left": left == null ? "no limit" : left < 0 ? "none" : milliseconds(left) };
    $("facts").replaceChildren(...Object.entries(facts).map(([name, value]) =>
      element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value }))));
    timeline(answer.timing, budget);
  }
}

function labelBar({ label, probability }) {
  const bar = element("i"), frame = element("span", { className: "bar" }, bar);
  bar.style.width = `${100 * probability}%`;
  frame.setAttribute("aria-hidden", "true");
  return element("li", {}, element("span", { textContent: label }), element("span", { textContent: percent(probability) }), frame);
}

// Where the time went, on a bar as long as the budget, or as the answer took.
function timeline({ queue_ms, infer_ms, total_ms }, budget) {
  const parts = [["other", "upload and decoding", Math.max(0, total_ms - queue_ms - infer_ms)], ["queue", "queue", queue_ms], ["infer", "inference", infer_ms]];
  const whole = Math.max(total_ms, Math.min(budget ?? 0, 8 * total_ms));
  $("timeline").replaceChildren(...parts.map(([kind, , value]) => {
    const part = element("i", { className: kind });
    part.style.width = `${(100 * value) / whole}%`;
    return part;
  }));
  $("timeline").setAttribute("aria-label", parts.map(([, name, value]) => `${name} ${milliseconds(value)}`).join(", "));
  $("legend").replaceChildren(...parts.map(([kind, name, value]) =>
    element("li", {}, element("i", { className: kind }), `${name} ${milliseconds(value)}`)));
}

// The largest of …, 0.1, 0.2, 0.5, 1, … at or below.
function below(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return Number((unit * [5, 2, 1].find((step) => step * unit <= value * 1.0001)).toPrecision(2));
}
