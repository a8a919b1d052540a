// The live figures: one tile each, with a line of the last five minutes.
import { $, element, shape } from "./dom.js";
import { milliseconds, percent, rate } from "./format.js";
import { SPAN } from "./feed.js";

const WIDTH = 150, HEIGHT = 36;
const top = (values) => Math.max(...values.filter((value) => value != null), 0);

// name, the value shown, the small print, the series and its range
const TILES = [
  { name: "Requests/s", key: "rate", show: (now) => rate(now.rate), note: (m) => `${rate(m.rate)} on average`, range: (v) => [0, Math.max(1, top(v))] },
  { name: "Attainment", key: "attainment", show: (_, m) => percent(m.attainment), range: (v) => [Math.min(0.9, ...v.filter((x) => x != null)), 1],
    note: (m) => (m.refused ? `${rate(m.refused)} refused or expired` : "of the last minute, in time") },
  { name: "Served accuracy", key: "accuracy", show: (_, m) => percent(m.accuracy), note: () => "of answers in time",
    range: (v) => { const known = v.filter((x) => x != null); return known.length ? [Math.min(...known) - 0.005, Math.max(...known) + 0.005] : [0, 1]; } },
  { name: "Queue delay", key: "queue", show: (_, m) => milliseconds(m.queue), note: (m) => `${milliseconds(m.longest)} at most`, range: (v) => [0, Math.max(0.1, top(v))] },
  { name: "In flight", key: "work", show: (now) => rate(now.work), note: (_, now) => `${rate(now.queued)} of them waiting`, range: (v) => [0, Math.max(1, top(v))] },
  { name: "CPU", key: "cpu", show: (now) => percent(now.cpu, 0), note: () => "of all cores", range: () => [0, 1] },
  { name: "GPU", key: "gpu", show: (now) => percent(now.gpu, 0), note: () => "the busiest", range: () => [0, 1], optional: true },
];

let drawn = [];

export function makeTiles() {
  drawn = TILES.map((tile) => {
    const value = element("dd", { className: "value", textContent: "–" });
    const note = element("dd", { className: "note", textContent: "\u00a0" });
    const line = shape("path", { class: "line" }), area = shape("path", { class: "area" });
    const dot = shape("circle", { class: "dot", r: 2.5, cx: WIDTH, cy: -9 });
    const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, area, line);
    const box = element("div", { className: "card tile" },
      element("dl", {}, element("dt", { textContent: tile.name }), value, note), svg);
    box.dataset.figure = tile.key;
    box.hidden = Boolean(tile.optional);
    return { ...tile, value, noted: note, line, area, dot, box };
  });
  $("tiles").replaceChildren(...drawn.map(({ box }) => box));
}

export function updateTiles(all, minute) {
  const now = all.at(-1) ?? { rate: null, work: null, queued: null, cpu: null, gpu: null };
  for (const tile of drawn) {
    const values = all.map((point) => point[tile.key]);
    if (tile.optional) tile.box.hidden = values.every((value) => value == null);
    if (tile.box.hidden) continue;
    tile.value.textContent = tile.show(now, minute);
    tile.noted.textContent = tile.note(minute, now);
    const [low, high] = tile.range(values);
    const place = (value) => HEIGHT - 2 - ((HEIGHT - 4) * (value - low)) / (high - low || 1);
    let path = "", fill = "", begun = null;
    values.forEach((value, index) => {
      const x = (WIDTH * (SPAN - values.length + index + 1)) / SPAN;
      if (value != null) {
        path += `${begun == null ? "M" : "L"}${x.toFixed(1)} ${place(value).toFixed(1)}`;
        fill += `${begun == null ? `M${x.toFixed(1)} ${HEIGHT}` : ""}L${x.toFixed(1)} ${place(value).toFixed(1)}`;
        begun ??= x;
      }
      if (begun != null && (value == null || index === values.length - 1)) {
        fill += `L${(value == null ? x - WIDTH / SPAN : x).toFixed(1)} ${HEIGHT}Z`;
        begun = null;
      }
    });
    tile.line.setAttribute("d", path);
    tile.area.setAttribute("d", fill);
  }
}
