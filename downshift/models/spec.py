"""The manifest: everything an artifact says about itself besides its tensors.

Values are frozen and validate themselves, so a `Manifest` that exists is a consistent one.
JSON conversion lives in `downshift.models.manifest_json`; nothing here imports torch.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from downshift.models.errors import SpecError, UnknownName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from downshift.models.pattern import Pattern

SCHEMA = 1
LARGEST_SIDE = 4096  # pixels
MOST_SUBNETS = 255  # levels fit a byte
SUBNET_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")

MaskEncoding = Literal["levels", "bitmaps"]
Precision = Literal["fp32", "int8"]
Interpolation = Literal["bilinear", "bicubic"]


def standard_error(accuracy: float, images: int) -> float:
    """The standard error of an accuracy, a ratio, measured on that many images: of a binomial share."""
    return round(math.sqrt(accuracy * (1.0 - accuracy) / images), 6)


@dataclass(frozen=True)
class Int8Spec:
    """What a sub-net needs to run in int8, found by calibration, and what it is worth then.

    accuracy: top-1 on the validation split in int8, a ratio in [0, 1]; None when never measured.
    ranges: by name of a value of the graph, the least and the largest activation, in real units.
    standard_error: of the accuracy, a ratio; None where it is not known.
    """

    accuracy: float | None
    ranges: Mapping[str, tuple[float, float]]
    standard_error: float | None = None

    def __post_init__(self) -> None:
        if self.accuracy is not None and not 0.0 <= self.accuracy <= 1.0:
            raise SpecError(f"int8 accuracy {self.accuracy} is not in [0, 1]")
        _check_error("int8", self.standard_error)
        if not self.ranges:
            raise SpecError("int8 without activation ranges: run `downshift quantize` again")
        for name, (low, high) in self.ranges.items():
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise SpecError(f"int8 range of {name!r} is [{low}, {high}]: finite, the least first")


@dataclass(frozen=True)
class SubnetSpec:
    """One sub-net: its name, what was removed, and what it is worth.

    sparsity: fraction of the *masked* layers' weights removed, in [0, 1).
    accuracy: top-1 on the validation split, a ratio in [0, 1]; None when never measured (synthetic).
    flops: 2 x multiply-adds of one input, counting only non-zero weights.
    nonzeros: non-zero weights in masked layers.
    int8: how it runs in int8; None where it was not quantised.
    standard_error: of the accuracy, a ratio; None where it is not known.
    """

    name: str
    sparsity: float
    pattern: Pattern
    accuracy: float | None
    flops: int
    nonzeros: int
    int8: Int8Spec | None = None
    standard_error: float | None = None

    def __post_init__(self) -> None:
        if not SUBNET_NAME.fullmatch(self.name):
            raise SpecError(f"sub-net name {self.name!r}: use a lower-case word such as 's90'")
        if not 0.0 <= self.sparsity < 1.0:
            raise SpecError(f"sub-net {self.name}: sparsity {self.sparsity} is not in [0, 1)")
        if self.accuracy is not None and not 0.0 <= self.accuracy <= 1.0:
            raise SpecError(f"sub-net {self.name}: accuracy {self.accuracy} is not in [0, 1]")
        _check_error(f"sub-net {self.name}", self.standard_error)
        if self.flops < 0 or self.nonzeros < 0:
            raise SpecError(f"sub-net {self.name}: flops and nonzeros cannot be negative")


@dataclass(frozen=True)
class Point:
    """A sub-net at one precision: what requests name, profiles measure and policies choose.

    Accuracy differs by precision, so `s90` and `s90-int8` are two points of accuracy and latency.
    """

    subnet: SubnetSpec
    precision: Precision = "fp32"

    @cached_property  # read once per request
    def name(self) -> str:
        """The sub-net's name; in int8 followed by `-int8`, in which no sub-net's own name can end."""
        return self.subnet.name if self.precision == "fp32" else f"{self.subnet.name}-{self.precision}"

    @property
    def sparsity(self) -> float:
        """Of the sub-net, a ratio in [0, 1)."""
        return self.subnet.sparsity

    @property
    def accuracy(self) -> float | None:
        """On the validation split at this precision, a ratio; None where never measured."""
        if self.precision == "fp32":
            return self.subnet.accuracy
        return None if self.subnet.int8 is None else self.subnet.int8.accuracy

    @property
    def standard_error(self) -> float | None:
        """Of that accuracy, a ratio; None where it is not known."""
        if self.precision == "fp32":
            return self.subnet.standard_error
        return None if self.subnet.int8 is None else self.subnet.int8.standard_error


def _check_error(whose: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise SpecError(f"{whose}: standard error {value} is not in [0, 1]")


@dataclass(frozen=True)
class InputSpec:
    """How an image becomes the network's input tensor, float32 [N, C, H, W].

    The shorter side is resized to `resize` pixels (or, when `resize` is None, the whole image to
    H x W), the centre H x W is cut out, bytes become [0, 1], then (x - mean) / std per channel.
    """

    name: str
    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise SpecError(f"input channels {self.channels}: images have 1 or 3")
        for side, value in (("height", self.height), ("width", self.width)):
            if not 1 <= value <= LARGEST_SIDE:
                raise SpecError(f"input {side} {value}: must be in [1, {LARGEST_SIDE}] pixels")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise SpecError(
                f"input mean {self.mean} / std {self.std}: {self.channels} values each are needed"
            )
        if not all(map(math.isfinite, self.mean + self.std)) or min(self.std) <= 0:
            raise SpecError(f"input mean {self.mean} / std {self.std}: finite, std above 0")
        if self.resize is not None and not max(self.height, self.width) <= self.resize <= 2 * LARGEST_SIDE:
            raise SpecError(f"input resize {self.resize}: must cover {self.height}x{self.width}")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise SpecError(f"input interpolation {self.interpolation!r}: bilinear or bicubic")

    @cached_property  # read once per request
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one example."""
        return self.channels, self.height, self.width


@dataclass(frozen=True)
class LayerSpec:
    """One masked layer: the initializer that holds its weight, and the weight's shape."""

    weight: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class NormSpec:
    """One switchable BatchNorm: the graph's four initializers, each [channels], and their length."""

    scale: str
    bias: str
    mean: str
    var: str
    channels: int

    @property
    def initializers(self) -> tuple[str, str, str, str]:
        """Initializer names in the order in which the stack holds their values."""
        return self.scale, self.bias, self.mean, self.var


@dataclass(frozen=True)
class Provenance:
    """Where the weights come from; `recipe` is the resolved recipe (JSON values only)."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    dataset: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""
    synthetic: bool = False


@dataclass(frozen=True)
class Manifest:
    """What an artifact says about itself; sub-nets come densest first."""

    network: str
    subnets: tuple[SubnetSpec, ...]
    input: InputSpec
    output: str
    labels: tuple[str, ...]
    masks: MaskEncoding
    layers: tuple[LayerSpec, ...]
    norms: tuple[NormSpec, ...]
    provenance: Provenance = Provenance()
    sha256: str = ""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise SpecError(f"schema {self.schema}: this version reads schema {SCHEMA}; upgrade downshift")
        if not 1 <= len(self.subnets) <= MOST_SUBNETS:
            raise SpecError(f"{len(self.subnets)} sub-nets: an artifact holds 1 to {MOST_SUBNETS}")
        names = [subnet.name for subnet in self.subnets]
        if len(set(names)) != len(names):
            raise SpecError(f"sub-net names {names}: each must be unique")
        counts = [subnet.nonzeros for subnet in self.subnets]
        if counts != sorted(counts, reverse=True):
            raise SpecError(f"sub-nets {names} with {counts} non-zeros: the densest comes first")
        if self.masks not in ("levels", "bitmaps"):
            raise SpecError(f"masks {self.masks!r}: 'levels' or 'bitmaps'")
        if len(self.labels) < 1:
            raise SpecError("labels: at least one class is needed")
        weights = [layer.weight for layer in self.layers]
        if len(set(weights)) != len(weights):
            raise SpecError("layers: a weight is listed twice")

    def subnet(self, name: str) -> SubnetSpec:
        """The sub-net of that name; raises `UnknownName` listing the names there are."""
        return self.subnets[self.index(name)]

    def index(self, name: str) -> int:
        """Position of the named sub-net, 0 = densest; raises `UnknownName`."""
        for index, subnet in enumerate(self.subnets):
            if subnet.name == name:
                return index
        raise UnknownName("sub-net", name, self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Sub-net names, densest first."""
        return tuple(subnet.name for subnet in self.subnets)

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """Every sub-net in float32 and, where it was quantised, in int8; densest first."""
        return tuple(
            Point(subnet, precision)
            for subnet in self.subnets
            for precision in (("fp32", "int8") if subnet.int8 is not None else ("fp32",))
        )

    def point(self, name: str) -> Point:
        """The point of that name, such as `s90-int8`; raises `UnknownName` listing the names there are."""
        for point in self.points:
            if point.name == name:
                return point
        raise UnknownName("sub-net", name, [point.name for point in self.points])
