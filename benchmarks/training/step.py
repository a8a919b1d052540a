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
from downshift.trainer.parallel import Workers
from downshift.trainer.recipe_toml import load
from downshift.trainer.step import AlternatingStep, StepContext

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from torch import Tensor

    from benchmarks.harness.report import Report
    from downshift.trainer.masks.masking import Masking
    from downshift.trainer.recipe import Recipe

    Step = Callable[[int], None]

CLASSES = 10
SIDE = 32
SEED = 0
PRUNED = 10**6  # a step at which every sub-net has its final sparsity


def batch(size: int) -> tuple[Tensor, Tensor]:
    """Random images, channels last, and random labels."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(size, 3, SIDE, SIDE, generator=generator)
    labels = torch.randint(0, CLASSES, (size,), generator=generator)
    return images.to(memory_format=torch.channels_last), labels


def dense_step(recipe: Recipe) -> Step:
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
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.run.precision == "bf16"):
            logits = network(images)
        functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def sparse_step(recipe: Recipe) -> tuple[Step, Masking]:
    """One step of the supernet, every sub-net at its final sparsity, and its masks."""
    images, labels = batch(recipe.run.batch_size)
    supernet = Supernet(build(recipe.network.name, classes=CLASSES), len(recipe.names))
    supernet.to(memory_format=torch.channels_last)
    context = StepContext.of(recipe, supernet, PRUNED, functional.cross_entropy, Workers().average)
    masking = context.masking
    masking.update(PRUNED, 0, [layer.weight.detach() for layer in masking.layers])
    take = AlternatingStep(context)
    return lambda number: take(number, recipe.optimizer.lr, images, labels), masking


def seconds(step: Step, number: int) -> float:
    """How long one step took."""
    start = time.perf_counter()
    step(number)
    return time.perf_counter() - start


def compare(recipe: Recipe, rounds: int) -> dict[str, float | str]:
    """Median and least seconds of either step, their ratios, and the median ratio of neighbouring steps."""
    torch.manual_seed(SEED)
    dense = dense_step(recipe)
    sparse, masking = sparse_step(recipe)
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
        "precision": recipe.run.precision,
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
    recipes = [load("cifar10-resnet20", [*changes, f"run.precision={each}"]) for each in ("fp32", "bf16")]
    begin = usage()
    steps = [compare(recipe, chosen.rounds) for recipe in recipes]
    about = {
        "network": recipes[0].network.name,
        "batch_size": chosen.batch_size,
        "correction": chosen.correction,
    }
    report.json({**about, "steps": steps, "others": round(disturbance(begin), 3)}, seed=SEED)


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
