"""The Pareto front of the bundled network: accuracy against latency, from the committed race of engines."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from docs.tools.svg import INK, RULE, SOFT, Picture
from downshift.models import artifact, spec

ROOT = Path(__file__).parents[2]
RACE = ROOT / "benchmarks/results/engines/engines.csv"
NETWORK = ROOT / "downshift/models/zoo/cifar10-resnet20.onnx"
OURS, FLOAT, OTHERS = "#0b6e4f", "#7aa899", "#8a5a00"
OUR_ENGINES = {"sparse-int8": OURS, "sparse": FLOAT}
DENSE_ENGINES = {
    "openvino-int8": "OpenVINO in int8, same s50",
    "onnxruntime-int8": "onnxruntime in int8",
    "openvino-bf16": "OpenVINO in bf16",
    "onnxruntime": "onnxruntime in fp32",
    "openvino": "OpenVINO in fp32",
}
WIDTH, HEIGHT = 780, 480
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 108, 62
FASTEST, SLOWEST = 0.03, 1.0  # milliseconds, logarithmic
LEAST, MOST = 0.78, 0.88  # accuracy


@dataclass(frozen=True)
class Point:
    """A sub-net on one engine: p50 seconds of one image on one thread, accuracy on the validation split."""

    subnet: str
    engine: str
    seconds: float
    accuracy: float


def points() -> tuple[Point, ...]:
    """What the committed race measured of the bundled network, batch 1, one thread."""
    subnets = artifact.read(NETWORK).manifest.subnets
    found = []
    with RACE.open(newline="") as file:
        for row in csv.DictReader(file):
            kind = row["network"], row["masks"], row["batch"], row["threads"]
            shown = row["engine"] in OUR_ENGINES or row["engine"] in DENSE_ENGINES
            if kind != (NETWORK.stem, "trained", "1", "1") or not shown:
                continue
            subnet = min(subnets, key=lambda each: abs(each.sparsity - float(row["sparsity"])))
            point = spec.Point(subnet, "int8" if row["engine"].endswith("-int8") else "fp32")
            if point.accuracy is not None:
                found.append(Point(point.name, row["engine"], float(row["p50"]), point.accuracy))
    return tuple(found)


def draw() -> str:
    """The SVG of the front, with the dense engines beside it."""
    found = points()
    ours = [point for point in found if point.engine in OUR_ENGINES]
    told = ", ".join(f"{p.subnet} {p.accuracy:.1%} in {p.seconds * 1e3:.3f} ms" for p in ours)
    picture = Picture(WIDTH, HEIGHT, f"Accuracy against latency of one network's sub-nets: {told}")
    title = "One file, ten speeds: ResNet-20 on CIFAR-10, float32 and int8"
    picture.text(LEFT, 28, title, size=18, more=' font-weight="600"')
    about = (
        "One image on one core of an AMD EPYC (Zen 4): p50 latency and validation accuracy of every sub-net"
    )
    picture.text(LEFT, 48, about, SOFT, 13)
    _axes(picture)
    for engine, colour in OUR_ENGINES.items():
        picture.path([_place(point) for point in ours if point.engine == engine], colour)
    for point in found:
        x, y = _place(point)
        if point.engine == "sparse-int8":
            picture.dot(x, y, OURS)
            label = f"{point.subnet}: {point.seconds * 1e3:.3f} ms"
            if point.subnet == "s50-int8":  # beside s80-int8, which is as accurate
                picture.text(x, y + 24, label, INK, 13, ' text-anchor="middle"')
            else:
                picture.text(x - 9, y - 8, label, INK, 13, ' text-anchor="end"')
        elif point.engine == "sparse":
            picture.dot(x, y, FLOAT)
            picture.text(x + 9, y + 19, f"{point.subnet}: {point.seconds * 1e3:.3f} ms", SOFT, 13)
        else:
            picture.dot(x, y, OTHERS, hollow=True)
    for row, (engine, name) in enumerate(DENSE_ENGINES.items()):
        [point] = [point for point in found if point.engine == engine]
        x, y = _place(point)
        picture.line(x, y - 7, x, y - 18 - 18 * row, OTHERS)
        label = f"{name}: {point.seconds * 1e3:.3f} ms"
        picture.text(x + 4, y - 22 - 18 * row, label, OTHERS, 13, ' text-anchor="end"')
    return picture.render()


def _place(point: Point) -> tuple[float, float]:
    return _x(point.seconds * 1e3), _y(point.accuracy)


def _x(milliseconds: float) -> float:
    share = math.log(milliseconds / FASTEST) / math.log(SLOWEST / FASTEST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(accuracy: float) -> float:
    return HEIGHT - BOTTOM - (accuracy - LEAST) / (MOST - LEAST) * (HEIGHT - TOP - BOTTOM - 40)


def _axes(picture: Picture) -> None:
    low, centre = HEIGHT - BOTTOM, ' text-anchor="middle"'
    for tick in (0.03, 0.05, 0.1, 0.2, 0.5, 1.0):
        picture.line(_x(tick), low, _x(tick), TOP + 40, RULE)
        picture.text(_x(tick), low + 20, f"{tick:g} ms", SOFT, 13, centre)
    for percent in range(78, 89, 2):
        picture.line(LEFT, _y(percent / 100), WIDTH - RIGHT, _y(percent / 100), RULE)
        picture.text(LEFT - 8, _y(percent / 100) + 4, f"{percent} %", SOFT, 13, ' text-anchor="end"')
    picture.text((LEFT + WIDTH - RIGHT) / 2, low + 46, "latency of one image, logarithmic", SOFT, 13, centre)
