"""What is asked of our policy in a sweep, and how far it is met: judged seed by seed."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.report import table
from downshift.runtime.simulator.comparison import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from downshift.runtime.simulator.comparison import PolicyResult

RIVAL, BOUND = "slackfit", "oracle"
ATTAINED, WITHIN = 0.99, 0.01  # share of the bound's attainment, accuracy below the bound's
NEAR_ATTAINMENT = "attainment at least 99 % of the bound's"
NEAR_ACCURACY = "served accuracy within 1 point of the bound's"
BELOW = "below SlackFit on both axes"
ABOVE = "effective accuracy strictly above SlackFit"
WORST, LARGEST = "worst share of the bound's attainment", "largest gap in served accuracy"
GOALS = (  # what a row says, which share of the cells is asked for, and the summary's key
    ("cells with at least 99 % of the bound's attainment", 1.0, NEAR_ATTAINMENT),
    ("cells with served accuracy within 1 point of the bound's", 1.0, NEAR_ACCURACY),
    ("cells with both", 1.0, "both"),
    ("cells below SlackFit on both axes", 0.0, BELOW),
    ("cells strictly above SlackFit in effective accuracy", 0.8, ABOVE),
    (WORST, None, WORST),
    (LARGEST, None, LARGEST),
)
INTRODUCTION = (
    "Virtual time, the very queue and policies of the server; means over the seeds. Every cell, with what "
    "each policy made of it: `cells-*.csv`. `usual`, `linear` and `batching` are synthetic profiles of five "
    "sub-nets, `measured` is the one given with `--profile`. Loads are capacities of the densest sub-net: "
    "where the sparsest is not that many times as fast, no policy can serve everybody. Rivals are our "
    "re-implementations from their papers. Written by `make bench-policies`."
)


@dataclass(frozen=True)
class Cell:
    """One point of the sweep: what it is, and what each policy made of it."""

    seed: int
    arrivals: str
    load: float
    cv2: float | None
    budget: float
    results: tuple[PolicyResult, ...]

    def __getitem__(self, policy: str) -> PolicyResult:
        return next(result for result in self.results if result.summary.policy == policy)


def summary(cells: Sequence[Cell]) -> dict[str, Any]:
    """The goals judged seed by seed, and the means of what is a number."""
    seeds = sorted({cell.seed for cell in cells})
    judged = [judge([cell for cell in cells if cell.seed == seed]) for seed in seeds]
    mean = {
        key: float(np.mean([one[key] for one in judged]))
        for key, value in judged[0].items()
        if isinstance(value, int | float)
    }
    accuracy = {
        name: float(np.mean([one["mean effective accuracy"][name] for one in judged]))
        for name in judged[0]["mean effective accuracy"]
    }
    by_seed = {str(seed): one for seed, one in zip(seeds, judged, strict=True)}
    return {"mean": {**mean, "mean effective accuracy": accuracy}, "seeds": by_seed}


def judge(cells: Sequence[Cell]) -> dict[str, Any]:
    """The goals, and by how much they are missed where they are."""
    ratios, gaps, gain, below, above = [], [], [], 0, 0
    for cell in cells:
        mine, rival, bound = (cell[name].summary for name in (OURS, RIVAL, BOUND))
        ratios.append(mine.attainment / bound.attainment)
        gaps.append((bound.served_accuracy or 0.0) - (mine.served_accuracy or 0.0))
        below += mine.attainment < rival.attainment and (mine.served_accuracy or 0) < (
            rival.served_accuracy or 0
        )
        above += (mine.effective_accuracy or 0.0) > (rival.effective_accuracy or 0.0)
        gain.append((mine.effective_accuracy or 0.0) - (rival.effective_accuracy or 0.0))
    met = [ratio >= ATTAINED for ratio in ratios]
    near = [gap <= WITHIN for gap in gaps]
    return {
        "cells": len(cells),
        NEAR_ATTAINMENT: sum(met),
        WORST: min(ratios),
        NEAR_ACCURACY: sum(near),
        LARGEST: max(gaps),
        "both": sum(a and b for a, b in zip(met, near, strict=True)),
        BELOW: below,
        ABOVE: above,
        "mean gain in effective accuracy over SlackFit": float(np.mean(gain)),
        "mean effective accuracy": {
            name: float(np.mean([cell[name].summary.effective_accuracy for cell in cells]))
            for name in (result.summary.policy for result in cells[0].results)
        },
    }


def page(folder: Path) -> str:
    """What the summaries in the folder say, as Markdown: a table of goals, and one of policies."""
    found = {
        path.stem.removeprefix("summary-"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("summary-*.json"))
    }
    means = {shape: one["mean"] for shape, one in found.items()}
    lines = ["# Policies side by side", "", *textwrap.wrap(INTRODUCTION, 110), ""]
    for shape, one in found.items():
        seconds = ", ".join(f"{name} {1e3 * each:.3g}" for name, _, _, each in one["subnets"])
        lines.append(
            f"- {shape}: {one['arrivals']} arrivals a cell, {len(one['seeds'])} seeds; ms: {seconds}"
        )
    rows = []
    for text, goal, key in GOALS:
        wanted, ones = "" if goal is None else f"{goal:.0%}", means.values()
        rows.append(
            [text, wanted]
            + [f"{one[key]:.3f}" if goal is None else f"{one[key] / one['cells']:.1%}" for one in ones]
        )
    lines += ["", *table(["", "goal", *found], rows), ""]
    lines += ["Mean effective accuracy: accuracy counted only for what is answered in time.", ""]
    accuracies = [one["mean effective accuracy"] for one in means.values()]
    policies = dict.fromkeys(name for each in accuracies for name in each)
    rows = [[name, *(f"{each.get(name, float('nan')):.4f}" for each in accuracies)] for name in policies]
    lines += table(["policy", *found], rows)
    pictures = [f"![accuracy and attainment against load, {shape}](load-{shape}.png)" for shape in found]
    return "\n".join([*lines, "", *pictures]) + "\n"
