"""A recipe: all hyper-parameters of a training run, validated."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from downshift.models.errors import SpecError
from downshift.models.pattern import Pattern, Unstructured, parse_pattern
from downshift.trainer.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class NetworkChoice:
    """Which network: a name, or `file.py:function`; `width` multiplies its channels.

    init: a .pt or .safetensors file with the weights that training starts from; none by default.
    """

    name: str
    width: float = 1.0
    init: str = ""


@dataclass(frozen=True)
class DataChoice:
    """Which data set; `validation` training images are held out for model selection.

    0 holds out 5,000, but at most a fifth of the training images. mix: mixes the images of a batch and their
    labels. balance: the loss weighs a class by the inverse of its frequency. Of image folders alone: `size`,
    the side of the network's input in pixels, 0 for 224; `grey`, one channel instead of three; and augment
    "randaugment", beside the random crops and flips that they always have.
    """

    name: str
    validation: int = 0
    test: str = "official"
    augment: Literal["none", "crop", "crop-flip", "randaugment"] = "none"
    workers: int = 2
    mix: Literal["none", "mixup", "cutmix", "mixup-cutmix"] = "none"
    balance: bool = False
    size: int = 0
    grey: bool = False


@dataclass(frozen=True)
class SubnetsChoice:
    """The sub-nets, densest first: global `sparsities`, or N:M `patterns`; exactly one of the two.

    block: what sparsities remove at once, such as "block 4x1" (four output channels) or "block 1x4" (four
    input channels, as the int8 kernels have it); by default single weights.
    """

    sparsities: tuple[float, ...] = ()
    patterns: tuple[str, ...] = ()
    block: str = "unstructured"


@dataclass(frozen=True)
class MasksChoice:
    """The schedule of mask updates. Times are fractions of the run; `interval` and `offset` are steps.

    Form `nested`: one global ranking, updated for all sub-nets at once; only the densest prunes and regrows.
    """

    form: Literal["nested", "independent"] = "nested"
    allocation: Literal["global", "erk", "uniform"] = "global"
    initial_sparsity: float = 0.0
    start: float = 0.03
    end: float = 0.65
    stop: float = 0.75
    interval: int = 100
    offset: int = 10
    regrow: float = 0.3
    classifier: bool = False
    depthwise: bool = False
    dense: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepChoice:
    """One sub-net per step (`alternating`, as in the paper), all on parts of each batch, or all on all of it.

    The last, `joint`, costs as much as training every sub-net by itself.

    correction: gradient correction is applied, observed (only its firing rate is logged), or off.
    """

    kind: Literal["alternating", "batch-split", "joint"] = "alternating"
    correction: Literal["apply", "observe", "off"] = "apply"


@dataclass(frozen=True)
class OptimizerChoice:
    """SGD with momentum; `warmup` and `milestones` are fractions of the run; no milestones: cosine decay."""

    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    warmup: float = 0.05
    milestones: tuple[float, ...] = ()


@dataclass(frozen=True)
class RunChoice:
    """Epochs, batch size, seed, precision; intervals of evaluation and checkpoints in epochs.

    quantize: calibrate the finished artifact for int8, as `downshift quantize` does. qat_epochs:
    quantisation-aware epochs after those, with masks and BatchNorm statistics fixed and a hundredth of the
    learning rate.
    """

    epochs: int
    batch_size: int = 128
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    recalibrate: int = 50
    evaluate_every: int = 1
    checkpoint_every: int = 1
    quantize: bool = False
    qat_epochs: int = 0


@dataclass(frozen=True)
class Recipe:
    """All hyper-parameters of one run; an invalid value raises `RecipeError` naming its key."""

    network: NetworkChoice
    data: DataChoice
    run: RunChoice
    subnets: SubnetsChoice
    masks: MasksChoice = field(default_factory=MasksChoice)
    step: StepChoice = field(default_factory=StepChoice)
    optimizer: OptimizerChoice = field(default_factory=OptimizerChoice)

    def __post_init__(self) -> None:
        chosen = self.subnets
        if bool(chosen.sparsities) == bool(chosen.patterns):
            raise RecipeError(
                "subnets: give either sparsities, such as [0.5, 0.9], or patterns, such as ['2:4']"
            )
        if list(chosen.sparsities) != sorted(set(chosen.sparsities)):
            raise RecipeError(f"subnets.sparsities {list(chosen.sparsities)}: each once, the densest first")
        _within("subnets.sparsities", chosen.sparsities, 0.0, 0.9999)
        patterns = self.patterns
        if chosen.patterns and chosen.block != str(Unstructured()):
            raise RecipeError(f"subnets.block {chosen.block!r}: it goes with sparsities, not with patterns")
        if chosen.sparsities and patterns[0].sparsity is not None:
            raise RecipeError(
                f"subnets.block {chosen.block!r}: write 'unstructured', 'channel' or, say, 'block 4x1'"
            )
        if chosen.patterns and not all(
            p.sparsity is not None for p in patterns[patterns[0] == Unstructured() :]
        ):
            raise RecipeError(
                f"subnets.patterns {list(chosen.patterns)}: write N:M, such as '2:4'; only the first may be "
                "'unstructured', which is dense"
            )
        if list(self.sparsities) != sorted(self.sparsities):
            raise RecipeError(f"subnets.patterns {list(chosen.patterns)}: the densest comes first")
        if len(set(self.names)) < len(self.names):
            raise RecipeError(f"subnets: {list(self.names)} are not different; sparsities differ by 0.0001")
        masks, run, optimizer = self.masks, self.run, self.optimizer
        for key in ("start", "end", "stop", "regrow", "initial_sparsity"):
            _within(f"masks.{key}", (getattr(masks, key),), 0.0, 1.0)
        if not masks.start <= masks.end <= masks.stop:
            raise RecipeError(f"masks: start {masks.start} <= end {masks.end} <= stop {masks.stop} is needed")
        _within("masks.interval", (masks.interval,), 1, 10**9)
        _within("masks.offset", (masks.offset,), 0, masks.interval)
        _within("network.width", (self.network.width,), 0.01, 64)
        _within("data.validation", (self.data.validation,), 0, 10**9)
        _within("data.size", (self.data.size,), 0, 4096)
        _within("data.workers", (self.data.workers,), 0, 256)
        for key in ("epochs", "batch_size", "evaluate_every", "checkpoint_every"):
            _within(f"run.{key}", (getattr(run, key),), 1, 10**6)
        _within("run.seed", (run.seed,), 0, 2**31 - 1)
        _within("run.recalibrate", (run.recalibrate,), 0, 10**6)
        _within("run.qat_epochs", (run.qat_epochs,), 0, 10**6)
        _within("optimizer.lr", (optimizer.lr,), 1e-9, 1e3)
        for key in ("momentum", "weight_decay", "label_smoothing", "warmup"):
            _within(f"optimizer.{key}", (getattr(optimizer, key),), 0.0, 0.9999)
        _within("optimizer.milestones", optimizer.milestones, 0.0, 1.0)
        if self.step.kind == "batch-split" and run.batch_size < 2 * len(patterns):
            raise RecipeError(
                f"run.batch_size {run.batch_size}: batch-split needs two for each of {len(patterns)} sub-nets"
            )

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The pattern of every sub-net, densest first."""
        chosen = self.subnets
        key = "block" if chosen.sparsities else "patterns"
        texts = (chosen.block,) * len(chosen.sparsities) or chosen.patterns
        try:
            return tuple(map(parse_pattern, texts))
        except SpecError as error:
            raise RecipeError(f"subnets.{key}: {error}") from error

    @property
    def sparsities(self) -> tuple[float, ...]:
        """The target sparsity of every sub-net, densest first."""
        if self.subnets.sparsities:
            return self.subnets.sparsities
        return tuple(pattern.sparsity or 0.0 for pattern in self.patterns)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every sub-net: `s90` for sparsity 0.90, `n2m4` for the pattern 2:4."""
        return tuple(
            pattern.name(sparsity) for pattern, sparsity in zip(self.patterns, self.sparsities, strict=True)
        )

    def as_dict(self) -> dict[str, Any]:
        """The resolved recipe as JSON-able values."""
        return _plain(dataclasses.asdict(self))  # type: ignore[no-any-return]


def _within(key: str, values: Iterable[float], low: float, high: float) -> None:
    for value in values:
        if not low <= value <= high:
            raise RecipeError(f"recipe key {key} = {value}: must be in [{low}, {high}]")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value
