"""One optimizer step of alternating sparse training, in its forms.

* `AlternatingStep`: step t trains sub-net t mod S on the whole batch, as in the paper; S steps form a group.
* `BatchSplitStep`: every step trains all sub-nets, each on its part of the batch, from the same weights.
* `JointStep`: every step trains all sub-nets, each on the whole batch, at S times the cost.

No host synchronisation, except in steps with a mask update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from downshift.trainer.gradient_correction import corrected
from downshift.trainer.masks.masking import Masking, MaskPlan
from downshift.trainer.optimizer import MaskedSGD, ParameterGroups, gradient_of

if TYPE_CHECKING:
    from downshift.models.supernet import Supernet
    from downshift.trainer.recipe import Recipe

CorrectionMode = Literal["apply", "observe", "off"]
Average = Callable[[Sequence[Tensor]], None]
Loss = Callable[[Tensor, Tensor], Tensor]
"""The loss of logits [B, classes] and labels, int64 [B] or probabilities [B, classes]."""


@dataclass
class Tally:
    """Accumulators on the device, reset every epoch: losses and steps per sub-net, and gradient correction.

    losses, steps: [S]; correction: [eligible steps, steps it fired in, sum of cosines].
    """

    losses: Tensor
    steps: Tensor
    correction: Tensor

    @classmethod
    def zero(cls, count: int, device: torch.device) -> Tally:
        """An empty tally for `count` sub-nets."""
        return cls(
            torch.zeros(count, device=device),
            torch.zeros(count, device=device),
            torch.zeros(3, device=device),
        )

    def add_loss(self, index: int, loss: Tensor) -> None:
        """Count one backward pass of sub-net `index`."""
        self.losses[index] += loss.detach()
        self.steps[index] += 1

    def add_cosine(self, cosine: Tensor) -> None:
        """Count one step on which correction was possible; it fires where the cosine is below zero."""
        self.correction += torch.stack([torch.ones_like(cosine), (cosine < 0).to(cosine.dtype), cosine])


@dataclass
class StepContext:
    """State shared by all forms of the step; `average` all-reduces (mean) over data-parallel workers."""

    supernet: Supernet
    masking: Masking
    optimizer: MaskedSGD
    tally: Tally
    correction: CorrectionMode
    loss: Loss
    autocast: Callable[[], torch.autocast]
    average: Average

    @classmethod
    def of(cls, recipe: Recipe, supernet: Supernet, steps: int, loss: Loss, average: Average) -> StepContext:
        """The context of a run of `steps` optimizer steps, on the device that the supernet lies on."""
        choice, device = recipe.optimizer, next(supernet.parameters()).device
        return cls(
            supernet=supernet,
            masking=Masking(supernet, MaskPlan.of(recipe, steps)),
            optimizer=MaskedSGD(
                ParameterGroups.of(supernet),
                momentum=choice.momentum,
                weight_decay=choice.weight_decay,
                nesterov=choice.nesterov,
            ),
            tally=Tally.zero(supernet.count, device),
            correction=recipe.step.correction if supernet.count > 1 else "off",
            loss=loss,
            autocast=_autocast(recipe.run.precision, device),
            average=average,
        )

    @property
    def masked_gradients(self) -> list[Tensor]:
        """Gradients of the masked weights, zero outside the selected sub-net."""
        return [gradient_of(layer.weight) for layer in self.masking.layers]

    def backward(self, index: int, images: Tensor, labels: Tensor, *, dense: bool) -> list[Tensor]:
        """Forward and backward pass of sub-net `index`; returns the dense gradients if `dense`, else []."""
        self.supernet.select(index)
        self.supernet.selection.dense_gradient = dense
        with self.autocast():
            logits = self.supernet(images)
        loss = self.loss(logits.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.supernet.selection.dense_gradient = False
        self.tally.add_loss(index, loss)
        if not dense:
            return []
        gradients = [layer.take_dense_gradient() for layer in self.masking.layers]
        self.average(gradients)
        return gradients

    def correct(self, index: int, gradients: list[Tensor], previous: list[Tensor] | None) -> list[Tensor]:
        """`gradients` after correction against `previous`; unchanged without a previous sub-net.

        With correction on they are all-reduced first, so that all workers apply the same projection.
        """
        if self.correction == "off":
            return gradients
        self.average(gradients)
        if previous is None:
            return gradients
        masks = [layer.stack.mask(index) for layer in self.masking.layers]
        projected, cosine = corrected(gradients, previous, masks)
        self.tally.add_cosine(cosine)
        return projected if self.correction == "apply" else gradients


@dataclass
class AlternatingStep:
    """Trains sub-net t mod S; `previous` is the previous sub-net's gradient, None at the start of a group."""

    context: StepContext
    previous: list[Tensor] | None = field(default=None)

    def __call__(self, step: int, lr: float, images: Tensor, labels: Tensor) -> None:
        """One optimizer step, and the mask update if one is due."""
        context = self.context
        count = context.supernet.count
        index = step % count
        if index == 0:
            self.previous = None
        due = context.masking.due(step, index, count)
        context.optimizer.zero_grad()
        dense = context.backward(index, images, labels, dense=due)
        gradients = context.correct(index, context.masked_gradients, self.previous)
        for layer, gradient in zip(context.masking.layers, gradients, strict=True):
            layer.weight.grad = gradient
        context.average(context.optimizer.gradients())
        if context.correction != "off":
            self.previous = gradients
        context.optimizer.step(lr, [layer.stack.mask(index).float() for layer in context.masking.layers])
        if due:
            context.optimizer.forget(context.masking.update(step, index, dense))


@dataclass
class BatchSplitStep:
    """Trains every sub-net on its part of the batch; parts rotate, as rounding makes some larger."""

    context: StepContext

    def rows(self, index: int, step: int, size: int) -> slice:
        """The rows of a batch of that size on which sub-net `index` is trained at `step`."""
        count = self.context.supernet.count
        part = (index + step) % count
        return slice(round(size * part / count), round(size * (part + 1) / count))

    def __call__(self, step: int, lr: float, images: Tensor, labels: Tensor) -> None:
        """One optimizer step on the mean of the sub-nets' gradients, and the mask updates that are due."""
        context = self.context
        count = context.supernet.count
        layers = context.masking.layers
        dense: dict[int, list[Tensor]] = {}
        total = [torch.zeros_like(layer.weight) for layer in layers]
        activity = [torch.zeros_like(layer.weight) for layer in layers]
        previous: list[Tensor] | None = None
        context.optimizer.zero_grad()
        for index in range(count):
            rows = self.rows(index, step, len(labels))
            due = context.masking.due(step, index, 1)
            kept = context.backward(index, images[rows], labels[rows], dense=due)
            if due:
                dense[index] = kept
            gradients = context.correct(index, context.masked_gradients, previous)
            previous = gradients
            torch._foreach_add_(total, gradients)
            torch._foreach_add_(activity, [layer.stack.mask(index).float() for layer in layers])
            for layer in layers:
                layer.weight.grad = None
        for layer, gradient in zip(layers, total, strict=True):
            layer.weight.grad = gradient
        context.average(context.optimizer.gradients())
        context.optimizer.scale_shared(1.0 / count)
        torch._foreach_div_(activity, count)
        context.optimizer.step(lr, activity)
        for index, gradients in dense.items():
            context.optimizer.forget(context.masking.update(step, index, gradients))


class JointStep(BatchSplitStep):
    """Trains every sub-net on the whole batch: what alternation is measured against, at S times the cost."""

    def rows(self, index: int, step: int, size: int) -> slice:  # noqa: ARG002  the form's
        """All."""
        return slice(0, size)


STEPS = {"alternating": AlternatingStep, "batch-split": BatchSplitStep, "joint": JointStep}
"""The forms of the step by their name in a recipe."""


def _autocast(precision: str, device: torch.device) -> Any:
    if precision == "fp32":
        return nullcontext
    return partial(torch.autocast, device.type, dtype=torch.bfloat16)
