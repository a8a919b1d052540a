"""One training run, from recipe to trained supernet; it can be killed anywhere and resumed bit-exactly."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import torch
from torch.nn import functional

from downshift.models.network import build
from downshift.models.networks.memory_format import memory_format
from downshift.models.networks.pretrained import initialise
from downshift.models.supernet import LayerRule, Supernet
from downshift.trainer import checkpoint as checkpoints
from downshift.trainer.checkpoint import Checkpoint
from downshift.trainer.data.balance import class_weights
from downshift.trainer.data.mixing import mixing
from downshift.trainer.divergence import LossHistory, first_not_finite, owner
from downshift.trainer.errors import DivergenceError, RecipeError
from downshift.trainer.evaluation import accuracy, recalibrate
from downshift.trainer.masks.schedule import InTurn, LearningRate
from downshift.trainer.parallel import Workers
from downshift.trainer.quantization.aware import QuantizationAware
from downshift.trainer.resuming import changes
from downshift.trainer.step import STEPS, AlternatingStep, StepContext

if TYPE_CHECKING:
    from torch import Tensor

    from downshift.models.layers.masked_layer import Encoding
    from downshift.trainer.data.training_data import Part, TrainingData
    from downshift.trainer.masks.schedule import Rate
    from downshift.trainer.progress import Reporter
    from downshift.trainer.recipe import Recipe
    from downshift.trainer.report.journal import Journal

CHECKPOINT = "checkpoint.safetensors"
QAT_RATE = 0.01  # of the learning rate, where quantisation-aware epochs begin
RANGE_BATCHES = 20  # that activation ranges are measured on


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: the trained supernet and every sub-net's accuracy, ratios by name."""

    supernet: Supernet
    validation: dict[str, float]
    test: dict[str, float]


class TrainingRun:
    """A supernet in training. Construct, optionally `resume`, then `train`.

    resuming: `resume` will follow, so that network.init, which may be gone by now, is not read.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        device: torch.device,
        workers: Workers | None = None,
        *,
        resuming: bool = False,
    ) -> None:
        self.recipe = recipe
        self.data = data
        self.device = device
        self.workers = workers or Workers()
        self.supernet = _supernet(recipe, data, initialised=not resuming).to(device)
        self.supernet.arrange(memory_format(self.supernet, device))
        if len(data) == 0:
            raise RecipeError(
                f"run.batch_size {recipe.run.batch_size}: the training split has fewer images than that"
            )
        plain = recipe.run.epochs * len(data)
        self.steps = plain + recipe.run.qat_epochs * len(data)
        self.rate = _learning_rate(recipe, plain, self.steps)
        self.mix = mixing(recipe.data.mix, len(data.labels))
        loss = partial(
            functional.cross_entropy,
            weight=class_weights(data.class_counts).to(device) if recipe.data.balance else None,
            label_smoothing=recipe.optimizer.label_smoothing,
        )
        self.context = StepContext.of(recipe, self.supernet, plain, loss, self.workers.average)
        self.optimizer = self.context.optimizer
        self.take_step = STEPS[recipe.step.kind](self.context)
        self.step = 0
        self.history = LossHistory(self.supernet.count, device)
        self.saved: int | None = None
        self.aware: QuantizationAware | None = None

    def train(self, folder: Path, journal: Journal | None, report: Reporter) -> TrainingResult:
        """Train to the end, then recalibrate and evaluate; with a journal, checkpoints go into `folder`.

        Raises `DivergenceError` at the first loss or weight that is not finite; the last checkpoint is kept.
        """
        run = self.recipe.run
        report.begin(self.step, self.steps)
        self.supernet.train()
        while self.step < self.steps:
            epoch, start = divmod(self.step, len(self.data))
            if epoch >= run.epochs and self.aware is None:
                self._begin_quantization()
            for images, labels in self.data.epoch(epoch, start):
                if self.aware:
                    self.aware.freeze()
                self.take_step(self.step, self.rate.at(self.step), *self.mix(images, labels))
                self.history.add(self.context.tally.losses)
                self.step += 1
                report.step()
                if self.history.full:
                    self._check_losses()
            self._check_losses()
            self.workers.same_buffers(self.supernet)
            self._check_weights()
            last = epoch + 1 == run.epochs + run.qat_epochs
            if last or (epoch + 1) % run.evaluate_every == 0:
                self._journal_epoch(epoch, journal, report)
            if journal and (last or (epoch + 1) % run.checkpoint_every == 0):
                checkpoints.save(folder / CHECKPOINT, self.checkpoint(journal.position))
                self.saved = self.step
        return self.finish()

    def finish(self) -> TrainingResult:
        """Measure BatchNorm statistics anew if the recipe says so, then evaluate on both held-out splits.

        Quantisation-aware epochs have measured them before, and trained with them since.
        """
        self.workers.same_buffers(self.supernet)
        if self.aware:
            self.aware.detach()
        else:
            self._recalibrate()
        return TrainingResult(self.supernet, self.evaluate("validation"), self.evaluate("test"))

    def _recalibrate(self) -> None:
        if count := self.recipe.run.recalibrate:
            for index in range(self.supernet.count):
                batches = self.data.calibration(self.recipe.run.epochs)
                recalibrate(self.supernet, index, islice(batches, count))

    def _begin_quantization(self, ranges: Tensor | None = None) -> None:
        """Compute as int8 will from now on, in ranges of activations that are measured, or were before."""
        self.aware = QuantizationAware(self.supernet)
        if ranges is None:
            self.workers.same_buffers(self.supernet)
            self._recalibrate()
            for index in range(self.supernet.count):
                batches = self.data.calibration(self.recipe.run.epochs)
                self.aware.measure(index, islice(batches, RANGE_BATCHES))
        else:
            self.aware.ranges.copy_(ranges)
        self.context.autocast = cast("Any", nullcontext)  # bfloat16 cannot hold 256 levels
        self.aware.attach()

    def evaluate(self, part: Part) -> dict[str, float]:
        """Top-1 accuracy of every sub-net on a held-out split, in float32.

        During quantisation-aware epochs it is that of the rounded network.
        """
        out = {}
        for index, name in enumerate(self.recipe.names):
            self.supernet.select(index)
            out[name] = accuracy(self.supernet, self.data.held_out(part))
        return out

    def checkpoint(self, journal: int) -> Checkpoint:
        """The run's whole state; `journal` is how many bytes of the journal belong to it."""
        tensors = {f"supernet/{n}": t for n, t in self.supernet.state_dict().items()}
        tensors |= {f"velocity/{n}": t for n, t in self.optimizer.velocity.items()}
        tally = self.context.tally
        tensors |= {
            "tally/losses": tally.losses,
            "tally/steps": tally.steps,
            "tally/correction": tally.correction,
            "rng/cpu": torch.get_rng_state(),
        }
        if self.aware:
            tensors["quantization/ranges"] = self.aware.ranges
        previous = getattr(self.take_step, "previous", None)
        for position, tensor in enumerate(previous or []):
            tensors[f"previous/{position:04d}"] = tensor
        return Checkpoint(self.step, self.recipe.as_dict(), tensors, {"journal": journal})

    @property
    def kept(self) -> str:
        """What there is to go on from, in words: the last checkpoint, or none."""
        if self.saved is None:
            return "no checkpoint was written yet"
        return f"the checkpoint of epoch {self.saved // len(self.data)} is kept"

    def resume(self, saved: Checkpoint) -> dict[str, Any]:
        """Go on from a checkpoint; returns the values of the recipe that changed since, by `section.key`.

        Raises `CheckpointError` for a recipe that differs where it may not.
        """
        changed = changes(saved.recipe, json.loads(json.dumps(self.recipe.as_dict())))
        self.supernet.load_state_dict(saved.part("supernet"))
        with torch.no_grad():
            for name, velocity in saved.part("velocity").items():
                self.optimizer.velocity[name].copy_(velocity)
            tally = saved.part("tally")
            self.context.tally.losses.copy_(tally["losses"])
            self.context.tally.steps.copy_(tally["steps"])
            self.context.tally.correction.copy_(tally["correction"])
        torch.set_rng_state(saved.tensors["rng/cpu"])
        previous = saved.part("previous")
        if isinstance(self.take_step, AlternatingStep) and previous:
            self.take_step.previous = [previous[key].to(self.device) for key in sorted(previous)]
        if ranges := saved.part("quantization"):
            self._begin_quantization(ranges["ranges"])
        self.step = self.saved = saved.step
        return changed

    def _check_losses(self) -> None:
        """Raise `DivergenceError` if a loss since the last look was not finite."""
        if found := self.history.first_not_finite(self.workers.average):
            back, index, value = found
            self._diverged(self.step - 1 - back, f"the loss of sub-net {self.recipe.names[index]} is {value}")

    def _check_weights(self) -> None:
        """Raise `DivergenceError` if a weight, a BatchNorm statistic or a velocity is not finite."""
        velocity = {f"velocity of {name}": tensor for name, tensor in self.optimizer.velocity.items()}
        if name := first_not_finite(self.supernet.state_dict() | velocity):
            index = owner(name)
            whose = "all sub-nets share" if index is None else f"sub-net {self.recipe.names[index]} has"
            self._diverged(self.step - 1, f"{name}, which {whose}, is not finite")

    def _diverged(self, step: int, what: str) -> NoReturn:
        lr = self.recipe.optimizer.lr
        remedy = "start again" if self.saved is None else "continue with --resume"
        raise DivergenceError(
            f"training diverged in epoch {step // len(self.data) + 1}, step {step + 1}, at learning rate "
            f"{self.rate.at(step):.3g}: {what}; {self.kept}: {remedy} and --set optimizer.lr={lr / 10:.3g}"
        )

    def _journal_epoch(self, epoch: int, journal: Journal | None, report: Reporter) -> None:
        validation = self.evaluate("validation")
        tally = self.context.tally
        names = self.recipe.names
        losses = tally.losses / tally.steps.clamp(min=1)
        eligible, fired, cosine = tally.correction.tolist()
        record: dict[str, Any] = {
            "epoch": epoch + 1,
            "lr": self.rate.at(self.step - 1),
            "loss": dict(zip(names, losses.tolist(), strict=True)),
            "validation": validation,
            "sparsity": {name: self.supernet.sparsity(i) for i, name in enumerate(names)},
        }
        if eligible:
            record["correction"] = {"firing_rate": fired / eligible, "mean_cosine": cosine / eligible}
        for total in (tally.losses, tally.steps, tally.correction):
            total.zero_()
        if journal:
            journal.write(self.step, record)
        report.evaluated(validation)


def _supernet(recipe: Recipe, data: TrainingData, *, initialised: bool) -> Supernet:
    """The recipe's network, its weights drawn by the recipe's seed or read from a file, as a supernet."""
    torch.manual_seed(recipe.run.seed)
    choice, masks = recipe.network, recipe.masks
    network = build(choice.name, classes=len(data.labels), width=choice.width, channels=data.image.channels)
    if choice.init and initialised:
        initialise(network, Path(choice.init))
    rule = LayerRule(masks.classifier, masks.depthwise, masks.dense, recipe.patterns[-1])
    encoding: Encoding = "levels" if masks.form == "nested" else "bitmaps"
    return Supernet(network, len(recipe.names), rule=rule, encoding=encoding)


def _learning_rate(recipe: Recipe, plain: int, steps: int) -> Rate:
    """The recipe's rate for `plain` steps; up to `steps` the small one of quantisation-aware epochs."""
    rate = LearningRate.of(recipe, plain)
    if plain == steps:
        return rate
    return InTurn(rate, plain, LearningRate(QAT_RATE * recipe.optimizer.lr, steps - plain, 0))
