// Who answered, second by second: areas stacked from the densest sub-net at the bottom, and a cursor to read them.
import { $, element, shape, whenSized } from "./dom.js";
import { SPAN } from "./feed.js";
import { ago, percent, rate } from "./format.js";

const LEFT = 44, BOTTOM = 22, TOP = 8, SMOOTH = 3;

export class Mix {
  all = [];
  subnets = [];
  cursor = null;  // seconds before the last one
  share = false;

  constructor() {
    this.box = $("mix");
    this.svg = shape("svg", { width: "100%", height: "100%", "aria-hidden": "true" });
    this.tip = element("div", { className: "tip", hidden: true });
    this.box.append(this.svg, this.tip);
    whenSized(this.box, () => this.draw());
    this.box.addEventListener("pointermove", (event) => this.read(Math.round(this.back(event.offsetX))));
    this.box.addEventListener("pointerleave", () => this.read(null));
    this.box.addEventListener("blur", () => this.read(null));
    this.box.addEventListener("focus", () => this.box.matches(":focus-visible") && this.read(0));
    this.box.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: 1, ArrowDown: 1, ArrowRight: -1, ArrowUp: -1, PageUp: -30, PageDown: 30, Home: SPAN, End: -SPAN }[event.key];
      if (step == null) return;
      event.preventDefault();
      this.read((this.cursor ?? 0) + step);
    });
    for (const radio of document.querySelectorAll("input[name=scale]")) {
      radio.addEventListener("change", () => { this.share = radio.value === "share"; this.draw(); });
    }
  }

  update(all, minute, subnets, colours) {
    Object.assign(this, { all, subnets, colours });
    const total = Object.values(minute.answers).reduce((a, b) => a + b, 0);
    $("mix-now").textContent = total ? `${rate(total)} answers in the last minute` : "No answers in the last minute";
    $("mix-legend").replaceChildren(...subnets.map(({ name }, index) => {
      const swatch = element("i");
      swatch.style.background = colours[index];
      const part = total ? (minute.answers[name] ?? 0) / total : null;
      return element("li", {}, swatch, element("b", { textContent: name }), ` ${percent(part, part > 0 && part < 0.1 ? 1 : 0)}`);
    }));
    this.draw();
  }

  get width() { return Math.max(1, this.box.clientWidth - LEFT); }

  x(index) { return LEFT + (this.width * (SPAN - this.all.length + index)) / (SPAN - 1); }

  back(x) { return ((LEFT + this.width - x) * (SPAN - 1)) / this.width; }

  read(seconds) {
    this.cursor = seconds == null ? null : Math.max(0, Math.min(SPAN - 1, seconds));
    const back = this.cursor ?? 0, point = this.all.at(-1 - back);
    const present = this.subnets.filter(({ name }) => point?.answers[name]).map(({ name }) => `${name} ${point.answers[name]}`);
    this.box.setAttribute("aria-valuenow", -back);
    this.box.setAttribute("aria-valuetext", `${ago(back)}: ${present.join(", ") || "no answers"}`);
    this.draw();
  }

  draw() {
    const height = this.box.clientHeight - BOTTOM, { all, subnets } = this;
    if (height <= TOP || !all.length) return;
    // a centred mean over three seconds: single requests would draw a comb
    const rows = all.map((_, at) => {
      const near = all.slice(Math.max(0, at - (SMOOTH >> 1)), at + (SMOOTH >> 1) + 1);
      return subnets.map(({ name }) => near.reduce((total, { answers }) => total + (answers[name] ?? 0), 0) / near.length);
    });
    const totals = rows.map((row) => row.reduce((a, b) => a + b, 0));
    const highest = this.share ? 1 : ceiling(Math.max(1, ...totals));
    const y = (value) => TOP + (height - TOP) * (1 - value / highest);
    const base = totals.map(() => 0);
    const areas = subnets.map((_, which) => {
      const below = base.map((value, at) => `L${this.x(at).toFixed(1)} ${y(value).toFixed(1)}`).reverse().join("");
      rows.forEach((row, at) => { base[at] += this.share ? (totals[at] ? row[which] / totals[at] : 0) : row[which]; });
      const above = base.map((value, at) => `${at ? "L" : "M"}${this.x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
      const area = shape("path", { d: `${above}${below}Z`, class: "layer" });
      area.style.fill = this.colours[which];
      return area;
    });
    const lines = [0, 0.5, 1].map((part) => shape("g", {},
      shape("line", { x1: LEFT, x2: LEFT + this.width, y1: y(part * highest), y2: y(part * highest), class: "grid" }),
      shape("text", { x: LEFT - 8, y: y(part * highest) + 4, class: "tick end" }, this.share ? `${100 * part} %` : rate(part * highest))));
    const times = [4, 3, 2, 1, 0].map((minutes) => shape("text",
      { x: this.x(all.length - 1 - 60 * minutes), y: height + 16, class: minutes ? "tick middle" : "tick end" }, minutes ? `−${minutes} min` : "now"));
    const cursor = this.cursor == null ? [] : [shape("line", { x1: this.x(all.length - 1 - this.cursor), x2: this.x(all.length - 1 - this.cursor), y1: TOP, y2: height, class: "cursor" })];
    this.svg.replaceChildren(...lines, ...areas, ...times, ...cursor);
    this.point();
  }

  point() {
    const point = this.cursor == null ? null : this.all.at(-1 - this.cursor);
    this.tip.hidden = !point;
    if (!point) return;
    const rows = this.subnets.map(({ name }, index) => [name, point.answers[name] ?? 0, this.colours[index]]).filter(([, count]) => count).reverse();
    this.tip.replaceChildren(element("b", { textContent: ago(this.cursor) }), ...rows.map(([name, count, colour]) => {
      const swatch = element("i");
      swatch.style.background = colour;
      return element("span", {}, swatch, `${name} ${count}`);
    }), ...(rows.length ? [] : [element("span", { textContent: "no answers" })]));
    const x = this.x(this.all.length - 1 - this.cursor);
    this.tip.style.left = `${Math.min(x + 12, this.box.clientWidth - 120)}px`;
  }
}

// A round number at or above, whose half is round too.
function ceiling(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * [1, 1.2, 1.6, 2, 3, 4, 6, 8, 10].find((step) => step * unit >= value);
}
