// What each sub-net is worth against what it costs; those left of the budget's line fit it. Dominated ones are
// faint: another is as accurate and as fast.
import { $, shape, whenSized } from "./dom.js";
import { milliseconds, percent } from "./format.js";

const LEFT = 52, RIGHT = 24, TOP = 18, BOTTOM = 30;

export class Scatter {
  subnets = [];

  constructor() {
    this.box = $("scatter");
    this.svg = shape("svg", { width: "100%", height: "100%", "aria-hidden": "true" });
    this.box.append(this.svg);
    whenSized(this.box, () => this.draw());
  }

  update(changes) {
    Object.assign(this, changes);
    this.draw();
  }

  draw() {
    const { subnets, colours, budget, answered } = this, width = this.box.clientWidth, height = this.box.clientHeight;
    if (!subnets.length || !width) return;
    this.box.setAttribute("aria-label", `Accuracy against latency: ${subnets.map((each) =>
      `${each.name} ${percent(each.accuracy)} in ${milliseconds(each.p50_ms)}`).join(", ")}`);
    const known = subnets.map(({ accuracy }) => accuracy ?? 0), spread = Math.max(...known) - Math.min(...known) || 0.02;
    const [low, high] = [Math.min(...known) - 0.18 * spread, Math.max(...known) + 0.12 * spread];
    const fastest = Math.min(...subnets.map(({ p50_ms }) => p50_ms)) / 1.6, slowest = Math.max(...subnets.map(({ p99_ms }) => p99_ms)) * 1.6;
    const x = (value) => LEFT + ((width - LEFT - RIGHT) * Math.log(value / fastest)) / Math.log(slowest / fastest);
    const y = (value) => TOP + (height - TOP - BOTTOM) * (1 - (value - low) / (high - low));
    const accuracies = [0.15, 0.5, 0.85].map((part) => low + part * (high - low));
    const marks = accuracies.map((value) => shape("g", {},
      shape("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "grid" }),
      shape("text", { x: LEFT - 8, y: y(value) + 4, class: "tick end" }, percent(value, spread < 0.05 ? 1 : 0))));
    const times = decades(fastest, slowest).map((value) =>
      shape("text", { x: x(value), y: height - 8, class: "tick middle" }, milliseconds(value)));
    const line = budget == null || budget < fastest || budget > slowest ? [] : [shape("g", {},
      shape("line", { x1: x(budget), x2: x(budget), y1: TOP - 4, y2: height - BOTTOM, class: "limit" }),
      shape("text", { x: x(budget) + (x(budget) > width - 90 ? -6 : 6), y: TOP + 4, class: x(budget) > width - 90 ? "tick end" : "tick" }, "budget"))];
    const trail = shape("path", { class: "trail", d: subnets.filter(({ dominated }) => !dominated).map((each, at) =>
      `${at ? "L" : "M"}${x(each.p50_ms)} ${y(each.accuracy ?? low)}`).join("") });
    let labels = 0;
    const dots = subnets.map((each, index) => {
      const fits = budget == null || each.p99_ms <= budget;
      const [cx, cy] = [x(each.p50_ms), y(each.accuracy ?? low)];
      const chosen = each.name === answered, faint = each.dominated && !chosen;
      const dot = shape("circle", { cx, cy, r: chosen ? 9 : faint ? 4.5 : 6.5, class: fits ? "dot" : "dot misfit" });
      dot.style.setProperty("--colour", colours[index]);
      const tail = shape("line", { x1: cx, x2: x(each.p99_ms), y1: cy, y2: cy, class: "tail" });
      const ring = chosen ? [shape("circle", { cx, cy, r: 14, class: "ring" })] : [];
      const name = faint ? [] : [shape("text", { x: cx, y: labels++ % 2 ? cy - 14 : cy + 24, class: chosen ? "name chosen" : "name" }, each.name)];
      return shape("g", { class: faint ? "dominated" : "" }, ...(faint ? [] : [tail]), ...ring, dot, ...name);
    });
    this.svg.replaceChildren(...marks, ...times, trail, ...line, ...dots);
  }
}

// 1, 2 and 5 times powers of ten within the range, thinned to what fits.
function decades(from, to) {
  const found = [];
  for (let power = Math.floor(Math.log10(from)); power <= Math.log10(to); power++)
    for (const step of [1, 2, 5]) if (step * 10 ** power >= from && step * 10 ** power <= to) found.push(step * 10 ** power);
  return found.length > 8 ? found.filter((value) => Number.isInteger(Math.log10(value) + 1e-9) || `${value.toPrecision(1)}`.startsWith("1")) : found;
}
