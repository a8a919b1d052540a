"""One training run, from a recipe to the files it leaves; it can be killed anywhere and resumed bit-exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.network import build
from models.supernet import LayerRule, Supernet
from trainer import checkpoint as checkpoints
from trainer.batches import Batches, Normalisation
from trainer.checkpoint import Checkpoint
from trainer.dataset import Dataset, Split
from trainer.errors import CheckpointError, RecipeError
from trainer.evaluation import accuracy, recalibrate
from trainer.journal import Journal
from trainer.masking import Masking, MaskPlan
from trainer.optimizer import MaskedSGD, ParameterGroups
from trainer.parallel import Workers
from trainer.progress import Reporter
from trainer.recipe import Recipe
from trainer.schedule import LearningRate
from trainer.step import AlternatingStep, BatchSplitStep, StepContext, Tally

CHECKPOINT = "checkpoint.safetensors"
EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Outcome:
    """A finished run: the trained supernet and every sub-net's accuracy, ratios by name."""

    supernet: Supernet
    validation: dict[str, float]
    test: dict[str, float]


class Run:
    """A supernet in training. Construct, optionally `resume`, then `train`."""

    def __init__(self, recipe: Recipe, data: Dataset, device: torch.device, workers: Workers | None = None):
        self.recipe = recipe
        self.data = data
        self.device = device
        self.workers = workers or Workers()
        torch.manual_seed(recipe.run.seed)
        network = build(
            recipe.network.name,
            classes=len(data.labels),
            width=recipe.network.width,
            channels=data.train.images.shape[-1],
        )
        rule = LayerRule(recipe.masks.classifier, recipe.masks.depthwise, recipe.masks.dense)
        encoding = "levels" if recipe.masks.form == "nested" else "bitmaps"
        self.supernet = Supernet(network, len(recipe.names), rule=rule, encoding=encoding)
        self.supernet.to(device=device, memory_format=torch.channels_last)
        self.normalisation = Normalisation(data.mean, data.std)
        self.batches = Batches(
            data.train.to(device),
            batch_size=recipe.run.batch_size,
            normalisation=self.normalisation,
            augment=recipe.data.augment,
            seed=recipe.run.seed,
        )
        if len(self.batches) == 0:
            raise RecipeError(
                f"run.batch_size {recipe.run.batch_size}: the training split has only {len(data.train.labels)} images"
            )
        self.steps = recipe.run.epochs * len(self.batches)
        self.rate = _learning_rate(recipe, self.steps)
        choice = recipe.optimizer
        self.optimizer = MaskedSGD(
            ParameterGroups.of(self.supernet),
            momentum=choice.momentum,
            weight_decay=choice.weight_decay,
            nesterov=choice.nesterov,
        )
        self.context = StepContext(
            supernet=self.supernet,
            masking=Masking(self.supernet, MaskPlan.of(recipe, self.steps)),
            optimizer=self.optimizer,
            tally=Tally.zero(self.supernet.count, device),
            correction=recipe.step.correction if self.supernet.count > 1 else "off",
            label_smoothing=choice.label_smoothing,
            autocast=_autocast(recipe.run.precision, device),
            average=self.workers.average,
        )
        kind = AlternatingStep if recipe.step.kind == "alternating" else BatchSplitStep
        self.take_step = kind(self.context)
        self.step = 0

    def train(self, folder: Path, journal: Journal | None, report: Reporter) -> Outcome:
        """Train to the end, then recalibrate and evaluate; with a journal, checkpoints go into `folder`."""
        run = self.recipe.run
        report.begin(self.step, self.steps)
        self.supernet.train()
        while self.step < self.steps:
            epoch, start = divmod(self.step, len(self.batches))
            for images, labels in self.batches.epoch(epoch, start):
                lr = self.rate.at(self.step)
                self.take_step(self.step, lr, self.workers.share(images), self.workers.share(labels))
                self.step += 1
                report.step()
            last = epoch + 1 == run.epochs
            if last or (epoch + 1) % run.evaluate_every == 0:
                self._journal_epoch(epoch, journal, report)
            if last or (epoch + 1) % run.checkpoint_every == 0:
                self.workers.same_buffers(self.supernet)
                if journal:
                    checkpoints.save(folder / CHECKPOINT, self.checkpoint(journal.position))
        return self.finish()

    def finish(self) -> Outcome:
        """Measure BatchNorm statistics anew where the recipe says so, then evaluate on both held-out splits."""
        self.workers.same_buffers(self.supernet)
        if self.recipe.run.recalibrate:
            for index in range(self.supernet.count):
                batches = self.batches.epoch(self.recipe.run.epochs)
                recalibrate(self.supernet, index, _first(batches, self.recipe.run.recalibrate))
        return Outcome(self.supernet, self.evaluate(self.data.validation), self.evaluate(self.data.test))

    def evaluate(self, split: Split) -> dict[str, float]:
        """Top-1 accuracy of every sub-net on a split, in float32."""
        split = split.to(self.device)
        out = {}
        for index, name in enumerate(self.recipe.names):
            self.supernet.select(index)
            out[name] = accuracy(self.supernet, evaluation_batches(split, self.normalisation))
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
        previous = getattr(self.take_step, "previous", None)
        for position, tensor in enumerate(previous or []):
            tensors[f"previous/{position:04d}"] = tensor
        return Checkpoint(self.step, self.recipe.as_dict(), tensors, {"journal": journal})

    def resume(self, saved: Checkpoint) -> int:
        """Go on from a checkpoint of the same recipe; returns how many bytes of the journal belong to it."""
        mine = json.loads(json.dumps(self.recipe.as_dict()))
        if saved.recipe != mine:
            changed = sorted(key for key in mine if mine[key] != saved.recipe.get(key))
            raise CheckpointError(
                f"the checkpoint was made with another recipe (sections {', '.join(changed)} differ); "
                "resume with the same one or choose another --out"
            )
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
        self.step = saved.step
        return int(saved.facts["journal"])

    def _journal_epoch(self, epoch: int, journal: Journal | None, report: Reporter) -> None:
        self.workers.same_buffers(self.supernet)
        validation = self.evaluate(self.data.validation)
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


def evaluation_batches(split: Split, normalisation: Normalisation) -> Iterator[tuple[Tensor, Tensor]]:
    """A split in order, in batches that fit any machine."""
    for start in range(0, len(split.labels), EVALUATION_BATCH):
        rows = slice(start, start + EVALUATION_BATCH)
        yield normalisation(split.images[rows]), split.labels[rows]


def _learning_rate(recipe: Recipe, steps: int) -> LearningRate:
    choice = recipe.optimizer
    milestones = tuple(round(part * steps) for part in choice.milestones)
    return LearningRate(choice.lr, steps, round(choice.warmup * steps), milestones)


def _autocast(precision: str, device: torch.device) -> Any:
    if precision == "fp32":
        return nullcontext
    return partial(torch.autocast, device.type, dtype=torch.bfloat16)


def _first(batches: Iterator[tuple[Tensor, Tensor]], count: int) -> Iterator[tuple[Tensor, Tensor]]:
    return (batch for _, batch in zip(range(count), batches, strict=False))
