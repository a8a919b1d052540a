// The page: joins the live stream, the panel to try, and the sub-nets of the chosen model.
import { $, element } from "./dom.js";
import { Feed } from "./feed.js";
import { milliseconds, percent } from "./format.js";
import { Mix } from "./mix.js";
import { colours } from "./palette.js";
import { Scatter } from "./scatter.js";
import { minute, points } from "./series.js";
import { makeTiles, updateTiles } from "./tiles.js";
import { Trial } from "./trial.js";

const STATES = { connecting: "Connecting", ready: "Live", loading: "Loading models", draining: "Shutting down",
  away: "Server away, trying again", full: "Too many pages watch, trying again" };

makeTiles();
const mix = new Mix(), scatter = new Scatter();
const trial = new Trial(
  (budget) => { scatter.update({ budget }); markFits(budget); },
  (answered) => { scatter.update({ answered }); markAnswered(answered); },
);
let chosen = new URLSearchParams(location.search).get("model");
let shown = null;  // the model whose sub-nets are on the page, and its version
let subnets = [];

const feed = new Feed(showState, update);

function showState(state, before) {
  if (state === before) return;
  $("state").dataset.state = state;
  $("state").textContent = STATES[state];
  document.body.classList.toggle("stale", state !== "ready" && state !== "loading");
  if (state === "away") shown = null;  // whoever comes back may serve something else
}

function update() {
  showChoice();
  const model = feed.models.find(({ name }) => name === chosen) ?? feed.models[0];
  if (!model) return;
  if (model.version && shown !== `${model.name}:${model.version}`) load(model);
  else if (!model.version) $("about").textContent = `${model.name} is being read and profiled on this machine…`;
  const all = points(feed.seconds, model.name), last = minute(all);
  updateTiles(all, last);
  mix.update(all, last, subnets, colours(subnets.length));
}

function showChoice() {
  const names = feed.models.map(({ name }) => name), select = $("model");
  if ([...select.options].map(({ value }) => value).join() !== names.join()) {
    select.replaceChildren(...names.map((name) => element("option", { value: name, textContent: name })));
    select.value = names.includes(chosen) ? chosen : names[0];
  }
  $("model-choice").hidden = names.length < 2;
}

$("model").addEventListener("change", ({ target }) => {
  chosen = target.value;
  history.replaceState(null, "", `?${new URLSearchParams({ model: chosen })}`);
  update();
});

async function load({ name, version }) {
  shown = `${name}:${version}`;
  const response = await fetch(`subnets?${new URLSearchParams({ model: name })}`);
  const model = await response.json();
  if (!response.ok) {
    shown = null;  // asked again with the next second
    return;
  }
  subnets = model.subnets;
  const [channels, height, width] = model.input;
  $("about").textContent = `${feed.models.length > 1 ? "" : `${model.model} · `}${subnets.length} sub-nets · ${model.labels.length} labels · ${width} × ${height}`
    + (channels === 1 ? " grey" : "") + (model.synthetic ? " · synthetic weights" : "");
  paint();
  trial.use(model);
}

function paint() {
  const paints = colours(subnets.length);
  $("subnets").replaceChildren(...[null, ...subnets].map((subnet, index) => row(subnet, paints[index - 1])));
  scatter.update({ subnets, colours: paints, answered: null });
  markFits(trial.budget);
}

function row(subnet, colour) {
  const input = element("input", { type: "radio", name: "subnet", value: subnet?.name ?? "", checked: !subnet });
  if (!subnet) {
    return element("tr", {}, element("td", {}, element("label", {}, input, "Automatic")),
      element("td", { colSpan: 5, className: "note", textContent: "the most accurate that fits the budget" }));
  }
  const swatch = element("i", { className: "swatch" });
  swatch.style.background = colour;
  const made = element("tr", {}, element("td", {}, element("label", {}, input, swatch, subnet.name)),
    ...[percent(subnet.sparsity, 0), percent(subnet.accuracy), milliseconds(subnet.p50_ms), milliseconds(subnet.p99_ms), subnet.engine]
      .map((textContent) => element("td", { textContent })));
  made.dataset.subnet = subnet.name;
  if (subnet.dominated) {
    made.classList.add("dominated");
    made.title = "never chosen by itself: another is at least as accurate and at least as fast";
  }
  return made;
}

function markFits(budget) {
  for (const { name, p99_ms } of subnets)
    document.querySelector(`tr[data-subnet="${CSS.escape(name)}"]`)?.classList.toggle("misfit", budget != null && p99_ms > budget);
}

function markAnswered(name) {
  for (const each of $("subnets").rows) each.classList.toggle("answered", name != null && each.dataset.subnet === name);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint(); update(); });
