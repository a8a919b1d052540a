"""Alternating sparse training as an object that a loop of your own, or Lightning's, calls once per batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn import functional

from downshift.models import artifact
from downshift.models.errors import SpecError
from downshift.trainer.dry_run import dry_run_export
from downshift.trainer.errors import RecipeError
from downshift.trainer.evaluation import accuracy, recalibrate
from downshift.trainer.export import export
from downshift.trainer.masks.schedule import LearningRate
from downshift.trainer.recipe_toml import parse
from downshift.trainer.step import STEPS, StepContext

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from downshift.models.spec import InputSpec
    from downshift.models.supernet import Supernet
    from downshift.trainer.recipe import Recipe
    from downshift.trainer.step import Loss

UPDATES = 60  # of the masks in one run, unless masks.interval says otherwise
LONGEST_INTERVAL = 100  # steps


class AlternatingTrainer:
    """Trains every sub-net of a supernet, one batch at a time, and writes the artifact.

    `supernet`: made with its sparsities or patterns, on the device that it trains on. `steps`: how often
    `step` will be called in all; masks and learning rate follow it. `image`: how an image becomes the
    network's input. `classes`: names of the classes. `loss`: of logits and labels. `sections`: values of a
    recipe's sections masks, step, optimizer, data and run, such as `optimizer={"lr": 0.05}`.

    What could not be exported at the end is refused here: raises `ExportError`, `RecipeError` and `SpecError`
    naming the layer, the class or the key.
    """

    def __init__(
        self,
        supernet: Supernet,
        *,
        steps: int,
        image: InputSpec,
        classes: Sequence[str],
        loss: Loss = functional.cross_entropy,
        **sections: Mapping[str, Any],
    ) -> None:
        self.supernet = supernet
        self.steps = steps
        self.image = image
        self.classes = tuple(classes)
        self.recipe = _recipe(supernet, steps, sections)
        dry_run_export(supernet, self.recipe, image, self.classes)
        self._rate = LearningRate.of(self.recipe, steps)
        self._context = StepContext.of(self.recipe, supernet, steps, loss, _alone)
        self._take_step = STEPS[self.recipe.step.kind](self._context)
        self._taken = 0

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One optimizer step of the sub-net whose turn it is, and the mask update if one is due.

        images: float32 [B, C, H, W], normalised; labels: int64 [B], or probabilities [B, classes]. Raises
        `RecipeError` after the last of `steps`.
        """
        if self._taken >= self.steps:
            raise RecipeError(f"step {self._taken + 1}: this trainer was made for {self.steps} steps")
        self.supernet.train()
        self._take_step(self._taken, self._rate.at(self._taken), images, labels)
        self._taken += 1

    def losses(self) -> dict[str, float]:
        """Mean training loss of every sub-net since the last call, by name; waits for the device."""
        tally = self._context.tally
        means = (tally.losses / tally.steps.clamp(min=1)).tolist()
        for total in (tally.losses, tally.steps, tally.correction):
            total.zero_()
        return dict(zip(self.recipe.names, means, strict=True))

    def recalibrate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Measure every sub-net's BatchNorm statistics anew on (images, labels); after the last step."""
        kept = list(batches)
        for index in range(self.supernet.count):
            recalibrate(self.supernet, index, iter(kept))

    def evaluate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Top-1 accuracy of every sub-net on (images, labels), ratios by name."""
        kept, found = list(batches), {}
        for index, name in enumerate(self.recipe.names):
            self.supernet.select(index)
            found[name] = accuracy(self.supernet, kept)
        return found

    def save(self, path: str | Path, accuracies: Mapping[str, float], *, images: int = 0) -> None:
        """Write the artifact of all sub-nets with their validation accuracies, ratios by name.

        images: how many the accuracies were measured on, which gives their standard error. Raises
        `ArtifactError` when a weight is not finite or the file cannot be written.
        """
        artifact.write(
            path, export(self.supernet, self.recipe, self.image, self.classes, accuracies, images=images)
        )


def _recipe(supernet: Supernet, steps: int, sections: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """The recipe that a run of `steps` steps with these sections would have."""
    if not supernet.patterns:
        raise SpecError("this supernet has no targets: make it with sparsities, as in sparsities=(0.5, 0.9)")
    texts = [str(each) for each in supernet.patterns]
    values: dict[str, dict[str, Any]] = {
        "network": {"name": type(supernet.network).__name__},
        "data": {"name": "own data"},
        "run": {"epochs": 1},
        "masks": {
            "form": "nested" if supernet.encoding == "levels" else "independent",
            "interval": min(LONGEST_INTERVAL, max(1, steps // UPDATES)),
            "offset": 0,
        },
        "subnets": {"sparsities": list(supernet.sparsities), "block": texts[-1]}
        if supernet.patterns[-1].sparsity is None
        else {"patterns": texts},
    }
    for name, section in sections.items():
        if name == "subnets":
            raise RecipeError("subnets: the supernet has its sub-nets already")
        values[name] = values.get(name, {}) | dict(section)
    return parse(values)


def _alone(_: Sequence[Tensor]) -> None:
    """The mean over one worker."""
