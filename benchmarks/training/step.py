"""What does alternating sparse training add to the step of the plain dense network?

    python -m benchmarks.training.step --rounds 8

Both steps see the same batch in one process and one thread, and take turns, A B A B. The dense side is the
same network with plain `torch.optim.SGD`; ours masks, corrects gradients and keeps inactive weights still,
which is checked afterwards. No mask update falls into the timed steps.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from benchmarks.harness.errors import WrongAnswer
from benchmarks.harness.experiment import experiment
from benchmarks.harness.quiet import disturbance, usage
from downshift.models.network import build
from downshift.models.supernet import Supernet
from downshift.trainer.masks.masking import Masking, MaskPlan
from downshift.trainer.optimizer import MaskedSGD, ParameterGroups
from downshift.trainer.recipe_toml import load
from downshift.trainer.step import AlternatingStep, StepContext, Tally

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from torch import Tensor

    from benchmarks.harness.report import Report
    from downshift.trainer.recipe import Recipe

    Step = Callable[[int], None]

CLASSES = 10
SIDE = 32
SEED = 0
PRUNED = 10**6  # a step at which every sub-net has its final sparsity
CPU = torch.device("cpu")


def autocast(precision: str) -> torch.autocast:
    """bfloat16 arithmetic, or none."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")


def batch(size: int) -> tuple[Tensor, Tensor]:
    """Random images, channels last, and random labels."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(size, 3, SIDE, SIDE, generator=generator)
    labels = torch.randint(0, CLASSES, (size,), generator=generator)
    return images.to(memory_format=torch.channels_last), labels


def dense_step(recipe: Recipe, precision: str) -> Step:
    """One step of the plain network."""
    images, labels = batch(recipe.run.batch_size)
    network = build(recipe.network.name, classes=CLASSES).to(memory_format=torch.channels_last)
    choice = recipe.optimizer
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=choice.lr,
        momentum=choice.momentum,
        weight_decay=choice.weight_decay,
        nesterov=choice.nesterov,
    )

    def step(_: int) -> None:
        optimizer.zero_grad()
        with autocast(precision):
            logits = network(images)
        functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def sparse_step(recipe: Recipe, precision: str) -> tuple[Step, Masking]:
    """One step of the supernet, every sub-net at its final sparsity, and its masks."""
    images, labels = batch(recipe.run.batch_size)
    supernet = Supernet(build(recipe.network.name, classes=CLASSES), len(recipe.names))
    supernet.to(memory_format=torch.channels_last)
    masking = Masking(supernet, MaskPlan.of(recipe, PRUNED))
    masking.update(PRUNED, 0, [layer.weight.detach() for layer in masking.layers])
    choice = recipe.optimizer
    context = StepContext(
        supernet=supernet,
        masking=masking,
        optimizer=MaskedSGD(
            ParameterGroups.of(supernet),
            momentum=choice.momentum,
            weight_decay=choice.weight_decay,
            nesterov=choice.nesterov,
        ),
        tally=Tally.zero(supernet.count, CPU),
        correction=recipe.step.correction,
        loss=functional.cross_entropy,
        autocast=lambda: autocast(precision),
        average=lambda _: None,
    )
    take = AlternatingStep(context)
    return lambda number: take(number, choice.lr, images, labels), masking


def seconds(step: Step, number: int) -> float:
    """How long one step took."""
    start = time.perf_counter()
    step(number)
    return time.perf_counter() - start


def compare(recipe: Recipe, precision: str, rounds: int) -> dict[str, float | str]:
    """Median and least seconds of either step, their ratios, and the median ratio of neighbouring steps."""
    torch.manual_seed(SEED)
    dense = dense_step(recipe, precision)
    sparse, masking = sparse_step(recipe, precision)
    inactive = [~layer.stack.mask(0) for layer in masking.layers]
    before = [layer.weight.detach().clone() for layer in masking.layers]
    count = len(recipe.names)
    times: dict[str, list[float]] = {"dense": [], "ours": []}
    for turn in range(-1, rounds):  # the first turn warms up; a turn is one step of every sub-net
        for number in range(count):
            pair = {"dense": seconds(dense, number), "ours": seconds(sparse, number)}
            for name, taken in pair.items() if turn >= 0 else ():
                times[name].append(taken)
    for layer, outside, weight in zip(masking.layers, inactive, before, strict=True):
        moved = layer.weight != weight
        if moved[outside].any() or not moved[~outside].any():
            raise WrongAnswer("the step that was timed is not a sparse training step")
    median = {name: statistics.median(values) for name, values in times.items()}
    least = {name: min(values) for name, values in times.items()}
    return {
        "precision": precision,
        "dense_median_s": median["dense"],
        "ours_median_s": median["ours"],
        "median_ratio": median["ours"] / median["dense"],
        "dense_min_s": least["dense"],
        "ours_min_s": least["ours"],
        "min_ratio": least["ours"] / least["dense"],
        "median_of_ratios": statistics.median(
            ours / dense for ours, dense in zip(times["ours"], times["dense"], strict=True)
        ),
    }


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--rounds", type=int, default=8, help="turns of one step a sub-net on either side")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--correction", choices=("apply", "observe", "off"), default="apply")


def measure(chosen: Namespace, report: Report) -> None:
    """Both precisions, one after the other."""
    torch.set_num_threads(1)
    changes = [f"run.batch_size={chosen.batch_size}", f"step.correction={chosen.correction}"]
    recipe, begin = load("cifar10-resnet20", changes), usage()
    steps = [compare(recipe, precision, chosen.rounds) for precision in ("fp32", "bf16")]
    about = {"network": recipe.network.name, "batch_size": chosen.batch_size, "correction": chosen.correction}
    report.json({**about, "steps": steps, "others": round(disturbance(begin), 3)}, seed=SEED)


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
