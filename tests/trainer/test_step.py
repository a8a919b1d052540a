"""One training step: what changes, what does not, and what it asks of the host."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional

from downshift.trainer.gradient_correction import inner_product
from downshift.trainer.masks.masking import Masking, MaskPlan
from downshift.trainer.parallel import Workers
from downshift.trainer.step import AlternatingStep, BatchSplitStep, JointStep, StepContext
from tests.trainer.small import CHANNELS, CLASSES, SIDE, noise, small_recipe, small_supernet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.models.supernet import Supernet

LR = 0.1
SYNCHRONISING = {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero"}


class Watching(Masking):
    """Remembers the gradients of every update."""

    def __init__(self, supernet: Supernet, plan: MaskPlan) -> None:
        super().__init__(supernet, plan)
        self.seen: list[list[torch.Tensor]] = []

    def update(self, step: int, index: int, gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        self.seen.append(list(gradients))
        return super().update(step, index, gradients)


def context(count: int = 3, correction: Any = "apply", **masks: Any) -> StepContext:
    recipe = small_recipe(
        subnets={"sparsities": [0.5, 0.8, 0.9, 0.95][:count]},
        masks={"interval": 7, **masks},
        step={"correction": correction},
    )
    supernet = small_supernet(count, "levels" if recipe.masks.form == "nested" else "bitmaps")
    return StepContext.of(recipe, supernet, 1000, functional.cross_entropy, Workers().average)


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return noise(12, CHANNELS, SIDE, SIDE, seed=seed), torch.arange(12) % CLASSES


def test_step_t_trains_sub_net_t_mod_s() -> None:
    step = AlternatingStep(context())
    for t in range(5):
        step(t, LR, *batch(t))
    assert step.context.tally.steps.tolist() == [2, 2, 1]


def test_correction_is_possible_inside_a_group_and_never_across_its_boundary() -> None:
    step = AlternatingStep(context())
    eligible = []
    for t in range(7):
        step(t, LR, *batch(t))
        eligible.append(int(step.context.tally.correction[0]))
    assert eligible == [0, 1, 2, 2, 3, 4, 4]


def test_correction_really_fires_and_leaves_no_gradient_opposed_to_the_one_before() -> None:
    """The released code overwrote the previous gradient first, so that <g, g> >= 0 never fired."""
    step = AlternatingStep(context(2))
    images, labels = batch()
    step(0, LR, images, labels)
    previous = step.previous
    assert previous is not None
    step(1, LR, images, (labels + 1) % CLASSES)  # other labels: the gradient turns
    assert step.previous is not None
    assert step.context.tally.correction[1] == 1
    assert inner_product(step.previous, previous) >= -1e-5


@pytest.mark.parametrize("correction", ["observe", "off"])
def test_correction_that_is_not_applied_changes_no_weight(correction: Any) -> None:
    applied, plain = AlternatingStep(context(2)), AlternatingStep(context(2, correction))
    reference = AlternatingStep(context(2, "off"))
    images, labels = batch()
    for t, wanted in enumerate((labels, (labels + 1) % CLASSES)):
        for step in (applied, plain, reference):
            step(t, LR, images, wanted)
    assert same(plain, reference)
    assert not same(applied, reference)
    assert plain.context.tally.correction[1] == (1 if correction == "observe" else 0)


def same(one: AlternatingStep, other: AlternatingStep) -> bool:
    states = [step.context.supernet.state_dict() for step in (one, other)]
    return all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.parametrize("kind", [AlternatingStep, BatchSplitStep])
@pytest.mark.parametrize("form", ["nested", "independent"])
def test_updates_see_the_gradient_of_weights_outside_the_mask(kind: Any, form: str) -> None:
    """Autograd of weight * mask is zero there: without the dense gradient all candidates would tie."""
    act = context(2, form=form, start=0.0, end=0.0)
    watching = Watching(act.supernet, act.masking.plan)
    act.masking = watching
    watching.update(900, 0, [torch.zeros_like(layer.weight) for layer in watching.layers])
    outside = [~layer.stack.mask(0) for layer in watching.layers]
    period = 2 if kind is AlternatingStep else 1
    kind(act)(next(t for t in range(8, 20, 2) if watching.due(t, 0, period)), LR, *batch())
    _, seen, *_ = watching.seen
    for gradient, mask in zip(seen, outside, strict=True):
        assert gradient[mask].abs().sum() > 0


@pytest.mark.parametrize("kind", [AlternatingStep, BatchSplitStep])
@pytest.mark.parametrize("form", ["nested", "independent"])
def test_a_weight_that_returns_enters_with_value_and_velocity_zero(kind: Any, form: str) -> None:
    """What it was and where it moved when it left is not what any sub-net trains now."""
    act = context(2, "off", form=form, start=0.0, end=0.0, stop=0.9)
    layer, velocity = act.masking.layers[0], next(iter(act.optimizer.velocity.values()))
    out = torch.ones_like(layer.weight, dtype=torch.bool)
    out.view(-1)[0] = False
    layer.stack.assign([out, out])
    dense = torch.zeros_like(layer.weight)
    dense.view(-1)[0] = 1e3
    with torch.no_grad():
        layer.weight.view(-1)[0] = 123.0
        velocity.view(-1)[0] = 7.0
    act.backward = partial(backward, act, dense)  # type: ignore[method-assign]
    period = 2 if kind is AlternatingStep else 1
    kind(act)(next(t for t in range(8, 20, 2) if act.masking.due(t, 0, period)), LR, *batch())
    assert layer.stack.mask(0).view(-1)[0]
    assert not layer.stack.mask(1).view(-1)[0], "a weight of value zero does not rank into a sparser sub-net"
    assert layer.weight.view(-1)[0] == 0.0
    assert velocity.view(-1)[0] == 0.0


def backward(act: StepContext, forced: torch.Tensor, *args: Any, **kwargs: Any) -> list[torch.Tensor]:
    """The real backward pass, with that dense gradient for the first layer."""
    gradients = StepContext.backward(act, *args, **kwargs)
    index, *_ = args
    return [forced if index == 0 else torch.zeros_like(forced), *gradients[1:]] if gradients else []


def test_batch_split_gives_every_sub_net_its_part_of_every_batch() -> None:
    step = BatchSplitStep(context(3))
    for t in range(2):
        step(t, LR, *batch(t))
    assert step.context.tally.steps.tolist() == [2, 2, 2]
    assert step.context.tally.correction[0] == 4


def test_joint_training_gives_every_sub_net_the_whole_of_every_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    real = StepContext.backward

    def backward(self: StepContext, index: int, images: Any, labels: Any, *, dense: bool) -> Any:
        seen.append(len(labels))
        return real(self, index, images, labels, dense=dense)

    monkeypatch.setattr(StepContext, "backward", backward)
    for kind, sizes in ((BatchSplitStep, {2, 3}), (JointStep, {8})):
        seen.clear()
        images, labels = batch()
        kind(context(3))(0, LR, images[:8], labels[:8])
        assert len(seen) == 3
        assert set(seen) == sizes


def test_one_sub_net_alone_is_trained_alike_by_both_forms() -> None:
    one, other = AlternatingStep(context(1, "off")), BatchSplitStep(context(1, "off"))
    for t in range(9):
        one(t, LR, *batch(t))
        other(t, LR, *batch(t))
    mine, theirs = (step.context.supernet.state_dict() for step in (one, other))
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [AlternatingStep, BatchSplitStep])
def test_a_step_without_an_update_never_waits_for_the_device(kind: Any) -> None:
    step = kind(context(3))
    images, labels = batch()
    for t in range(2):
        step(t, LR, images, labels)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step(2, LR, images, labels)
    names = {event.key for event in profile.key_averages()}
    assert "aten::convolution" in names
    assert names.isdisjoint(SYNCHRONISING)


def test_the_probe_sees_an_update_synchronise() -> None:
    step = AlternatingStep(context(1, "off"))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step(7, LR, *batch())
    assert not SYNCHRONISING.isdisjoint({event.key for event in profile.key_averages()})
