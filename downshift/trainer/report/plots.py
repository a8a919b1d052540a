"""The plots of a report: each a PNG with a title and an alternative text."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    Records = Sequence[Mapping[str, Any]]

WIDTH, HEIGHT = 8.0, 4.0
DPI = 120
INK, RULE = "#2b2f36", "#d9dde3"
MOST_LAYER_NAMES = 40


@dataclass(frozen=True)
class Plot:
    """One plot: `file` is its file name, `alt` the alternative text."""

    file: str
    title: str
    alt: str
    png: bytes


def accuracy(
    sparsities: Mapping[str, float], validation: Mapping[str, float], test: Mapping[str, float]
) -> Plot:
    """Accuracy on both held-out splits over sparsity; ratios by sub-net."""
    figure = _figure()
    axes = _axes(figure.subplots(), "sparsity", "accuracy")
    x = list(sparsities.values())
    colours = _colours(3)
    for label, values, colour in (("validation", validation, colours[0]), ("test", test, colours[1])):
        axes.plot(x, [values[name] for name in sparsities], marker="o", label=label, color=colour)
    for name, sparsity in sparsities.items():
        axes.annotate(
            name, (sparsity, test[name]), (0, -14), textcoords="offset points", ha="center", color=INK
        )
    axes.margins(0.06, 0.15)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(frameon=False)
    said = "; ".join(
        f"{name} at {sparsity:.1%}: {validation[name]:.2%} and {test[name]:.2%}"
        for name, sparsity in sparsities.items()
    )
    return Plot(
        "accuracy.png", "Accuracy against sparsity", f"Validation and test accuracy. {said}.", _png(figure)
    )


def curves(records: Records, names: Sequence[str]) -> Plot:
    """Training loss and validation accuracy of every sub-net over the epochs."""
    figure = _figure()
    loss, validation = figure.subplots(1, 2)
    _axes(loss, "epoch", "training loss")
    _axes(validation, "epoch", "validation accuracy").yaxis.set_major_formatter(PercentFormatter(1.0))
    epochs = [record["epoch"] for record in records]
    for axes, key in ((loss, "loss"), (validation, "validation")):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for name, colour in zip(names, _colours(len(names)), strict=True):
            axes.plot(
                epochs,
                [record[key][name] for record in records],
                label=name,
                color=colour,
                marker=_marker(epochs),
            )
    validation.legend(frameon=False)
    ends = "; ".join(
        f"{name}: loss {records[-1]['loss'][name]:.3f}, accuracy {records[-1]['validation'][name]:.2%}"
        for name in names
    )
    alt = f"Loss and validation accuracy by epoch, before BatchNorm is measured anew. At the end {ends}."
    return Plot("curves.png", "Training", alt, _png(figure))


def layer_sparsity(layers: Sequence[str], sparsities: Mapping[str, Sequence[float]]) -> Plot:
    """Sparsity of every masked layer in every sub-net, layers in the network's order."""
    figure = _figure()
    axes = _axes(figure.subplots(), "", "sparsity")
    positions = range(len(layers))
    for (name, values), colour in zip(sparsities.items(), _colours(len(sparsities)), strict=True):
        axes.plot(positions, values, label=name, color=colour, marker=".")
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.grid(visible=False)
    if len(layers) <= MOST_LAYER_NAMES:
        axes.set_xticks(positions, layers, rotation=90, fontsize=7)
    else:
        axes.set_xlabel("masked layer")
    axes.legend(frameon=False, loc="lower right", ncols=2)
    said = "; ".join(
        f"{name} from {min(values):.1%} to {max(values):.1%}" for name, values in sparsities.items()
    )
    return Plot(
        "layers.png",
        "Sparsity by layer",
        f"Sparsity of each of {len(layers)} masked layers. {said}.",
        _png(figure),
    )


def correction(records: Records) -> Plot:
    """Gradient correction over the epochs: its firing rate and the mean cosine of the gradients."""
    figure = _figure()
    firing, cosine = figure.subplots(1, 2)
    _axes(firing, "epoch", "firing rate").yaxis.set_major_formatter(PercentFormatter(1.0))
    _axes(cosine, "epoch", "mean cosine").axhline(0.0, color=INK, linewidth=0.8)
    epochs = [record["epoch"] for record in records]
    colour = _colours(3)[0]
    for axes, key in ((firing, "firing_rate"), (cosine, "mean_cosine")):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.plot(
            epochs, [record["correction"][key] for record in records], color=colour, marker=_marker(epochs)
        )
    firing.set_ylim(bottom=0.0)
    rates = [record["correction"]["firing_rate"] for record in records]
    last = records[-1]["correction"]
    alt = (
        f"Share of eligible steps whose gradient opposes the previous sub-net's: from {min(rates):.1%} to "
        f"{max(rates):.1%}, at the end {last['firing_rate']:.1%}; mean cosine at the end "
        f"{last['mean_cosine']:+.4f}."
    )
    return Plot("correction.png", "Gradient correction", alt, _png(figure))


def _figure() -> Figure:
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _axes(axes: Axes, x: str, y: str) -> Axes:
    """Apply the report's style to the axes."""
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(RULE)
    return axes


def _colours(count: int) -> list[tuple[float, ...]]:
    """Colours of monotonic lightness, readable in grey scale; the densest sub-net is darkest."""
    scale = colormaps["viridis"]
    return [scale(0.85 * index / max(1, count - 1)) for index in range(count)]


def _marker(epochs: Sequence[int]) -> str:
    """A marker for a series of one point, where a line would be invisible."""
    return "o" if len(epochs) == 1 else ""


def _png(figure: Figure) -> bytes:
    """The figure as PNG, without the metadata that depends on the library's version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
