"""The sweep of policies in virtual time: `make bench-policies`.

Every policy on the same arrivals: rate x burstiness x budget, steps of load, and the Azure LLM inference
traces 2023 where they are; again for every seed, and for profiles of several shapes, as what batching saves
decides what policies are worth. Writes results/scheduling/policies: for each shape the cells with every
figure and a summary with the goals, means over the seeds beside the figures of each; and pictures; and for
all shapes together README.md, the goals and what each policy makes of them. Rivals are our re-implementations
from the papers.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import textwrap
import time
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from downshift.runtime.simulator import comparison, profile_file, report
from downshift.runtime.simulator.arrivals import Arrivals
from downshift.runtime.simulator.comparison import OURS, Result
from downshift.runtime.simulator.engine import Scenario, simulate
from downshift.runtime.simulator.oracle import oracle
from downshift.runtime.simulator.policies import table
from downshift.runtime.simulator.synthetic import synthetic_profile
from downshift.runtime.simulator.trace import Trace
from downshift.runtime.simulator.trace_file import read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from downshift.runtime.profiling.profile import Profile

RIVAL, BOUND = "slackfit", "oracle"
# name, sparsity, accuracy, seconds of one example
SUBNETS = (
    ("s50", 0.50, 0.930, 0.00300),
    ("s80", 0.80, 0.920, 0.00160),
    ("s90", 0.90, 0.905, 0.00090),
    ("s95", 0.95, 0.885, 0.00050),
    ("s98", 0.98, 0.860, 0.00031),
)
SHAPES = {"usual": (0.15, 1.0), "linear": (0.02, 1.3), "batching": (0.8, 1.1)}
"""A batch of n takes f + (1 - f) n times what one example takes, its p99 is t times its p50: f and t.

`linear` is like our CPU kernels on a network of ResNet-50's size, `batching` like a GPU.
"""
LOADS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)  # capacities of the densest sub-net
BURSTINESS = (1.0, 2.0, 4.0, 8.0)
BUDGETS = (2.0, 4.0, 8.0, 16.0, 32.0)  # times the densest sub-net's seconds for one example
STEPS = (0.5, 6.0, 1.0, 8.0, 2.0)
POLICIES = (*table.BUILDERS, "fixed:s50", "fixed:s98", "clipper:s95")
TRACES = ("AzureLLMInferenceTrace_code.csv", "AzureLLMInferenceTrace_conv.csv")
TRACE_LOADS, TRACE_BUDGETS = (0.5, 1.0, 2.0), (4.0, 16.0)
GOALS = (  # what a row says, which share of the cells is asked for, and the summary's key
    ("cells with at least 99 % of the bound's attainment", 1.0, "attainment at least 99 % of the bound's"),
    (
        "cells with served accuracy within 1 point of the bound's",
        1.0,
        "served accuracy within 1 point of the bound's",
    ),
    ("cells with both", 1.0, "both"),
    ("cells below SlackFit on both axes", 0.0, "below SlackFit on both axes"),
    (
        "cells strictly above SlackFit in effective accuracy",
        0.8,
        "effective accuracy strictly above SlackFit",
    ),
    ("worst share of the bound's attainment", None, "worst share of the bound's attainment"),
    ("largest gap in served accuracy", None, "largest gap in served accuracy"),
)
INTRODUCTION = (
    "Virtual time, the very queue and policies of the server; means over the seeds. Every cell, with what "
    "each policy made of it: `cells-*.csv`. `usual`, `linear` and `batching` are synthetic profiles of five "
    "sub-nets, `measured` is the one given with `--profile`. Loads are capacities of the densest sub-net: "
    "where the sparsest is not that many times as fast, no policy can serve everybody. Rivals are our "
    "re-implementations from their papers. Written by `make bench-policies`."
)
ATTAINED, WITHIN = 0.99, 0.01  # the goals: share of the bound's attainment, accuracy below the bound's


@dataclass(frozen=True)
class Cell:
    """One point of the sweep: what it is, and what each policy made of it."""

    seed: int
    arrivals: str
    load: float
    cv2: float | None
    budget: float
    results: tuple[Result, ...]

    def __getitem__(self, policy: str) -> Result:
        return next(result for result in self.results if result.summary.policy == policy)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweep, write its results, print the goals."""
    parser = argparse.ArgumentParser(description="Compare scheduling policies in virtual time.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scheduling/policies"))
    parser.add_argument("--traces", type=Path, default=Path("data/traces/azure_llm_2023"))
    parser.add_argument("--arrivals", type=int, default=5000, help="requests in each cell")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--shapes", choices=SHAPES, nargs="*", default=list(SHAPES))
    parser.add_argument("--profile", type=Path, help="a measured profile, swept as the shape `measured`")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), help="ours and slackfit among them")
    chosen = parser.parse_args(arguments)
    profiles = {
        shape: synthetic_profile(SUBNETS, fixed=SHAPES[shape][0], tail=SHAPES[shape][1])
        for shape in chosen.shapes
    }
    if chosen.profile is not None:
        profiles["measured"] = profile_file.read(chosen.profile)
    for shape, profile in profiles.items():
        cells: list[Cell] = []
        for seed in chosen.seeds:
            begin = time.monotonic()
            cells += sweep(profile, chosen.policies, chosen.arrivals, seed, chosen.traces)
            print(f"{shape}, seed {seed}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
        goals = {
            **summary(cells),
            "arrivals": chosen.arrivals,
            "fixed, tail": SHAPES.get(shape),
            "subnets": [(s.name, s.sparsity, s.accuracy, s.p50[1]) for s in profile.subnets],
        }
        write(chosen.out, shape, cells, goals)
        print(json.dumps(goals, indent=2), flush=True)
    (chosen.out / "README.md").write_text(page(chosen.out), encoding="utf-8")
    return 0


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


def sweep(
    profile: Profile, policies: Sequence[str], arrivals: int, seed: int, traces: Path
) -> Iterator[Cell]:
    """Every cell, the pattern of arrivals the same for all loads of one burstiness."""
    built = cache(
        partial(table.build, profile=profile)
    )  # RAMSIS takes seconds, and is the same at every load

    def measure(pattern: Trace, load: float, budget: float, cv2: float | None = None) -> Cell:
        slo = budget * profile.subnets[0].p50[1]
        scenario = Scenario(pattern.at_rate(load * comparison.capacity(profile)), profile, slo, seed=seed)
        results = [Result(load, oracle(scenario), None)]
        for name in policies:
            outcome = simulate(scenario, built(name, slo=slo))
            results.append(Result(load, outcome.summary(name), outcome if name == OURS else None))
        return Cell(seed, pattern.name, load, cv2, budget, tuple(results))

    for cv2, budget, load in product(BURSTINESS, BUDGETS, LOADS):
        yield measure(_pattern("gamma", Arrivals(1.0, arrivals, cv2, seed)), load, budget, cv2)
    mean = float(np.mean(STEPS))
    pattern = _pattern("steps", Arrivals(1.0, arrivals / mean, 1.0, seed, STEPS))
    for budget in BUDGETS:
        yield measure(pattern, mean, budget)
    for name in TRACES:
        if not (traces / name).is_file():
            print(f"skipped: {name} is not in {traces}; give its folder with --traces", file=sys.stderr)
            continue
        pattern = replace(read(traces / name), name=Path(name).stem.rpartition("_")[2])
        for budget, load in product(TRACE_BUDGETS, TRACE_LOADS):
            yield measure(pattern, load, budget)


def _pattern(name: str, arrivals: Arrivals) -> Trace:
    return Trace(name, arrivals.times(), arrivals.seconds)


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
        "attainment at least 99 % of the bound's": sum(met),
        "worst share of the bound's attainment": min(ratios),
        "served accuracy within 1 point of the bound's": sum(near),
        "largest gap in served accuracy": max(gaps),
        "both": sum(a and b for a, b in zip(met, near, strict=True)),
        "below SlackFit on both axes": below,
        "effective accuracy strictly above SlackFit": above,
        "mean gain in effective accuracy over SlackFit": float(np.mean(gain)),
        "mean effective accuracy": {
            name: float(np.mean([cell[name].summary.effective_accuracy for cell in cells]))
            for name in (result.summary.policy for result in cells[0].results)
        },
    }


def write(folder: Path, shape: str, cells: Sequence[Cell], goals: dict[str, Any]) -> None:
    """Leave cells, summary and two pictures of the first seed in the folder, named after the shape."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "seed": cell.seed,
            "arrivals": cell.arrivals,
            "load": cell.load,
            "cv2": cell.cv2,
            "budget": cell.budget,
            **{key: _short(value) for key, value in asdict(result.summary).items()},
        }
        for cell in cells
        for result in cell.results
    ]
    with (folder / f"cells-{shape}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / f"summary-{shape}.json").write_text(json.dumps(goals, indent=2) + "\n", encoding="utf-8")
    first = [cell for cell in cells if cell.seed == cells[0].seed]
    shown = [cell for cell in first if (cell.arrivals, cell.cv2, cell.budget) == ("gamma", 8.0, 8.0)]
    report.draw_load(folder / f"load-{shape}.png", [result for cell in shown for result in cell.results])
    steps = next(cell for cell in first if (cell.arrivals, cell.budget) == ("steps", 8.0))
    outcome = steps[OURS].outcome
    if outcome is not None:
        report.draw_timeline(folder / f"timeline-{shape}.png", outcome)


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
    lines += ["", f"| | goal | {' | '.join(found)} |", f"|{'---|' * (2 + len(found))}"]
    for text, goal, key in GOALS:
        wanted = "" if goal is None else f"{goal:.0%}"
        row = [
            f"{one[key]:.3f}" if goal is None else f"{one[key] / one['cells']:.1%}" for one in means.values()
        ]
        lines.append(f"| {text} | {wanted} | {' | '.join(row)} |")
    lines += ["", "Mean effective accuracy: accuracy counted only for what is answered in time.", ""]
    lines += [f"| policy | {' | '.join(found)} |", f"|{'---|' * (1 + len(found))}"]
    for name in dict.fromkeys(name for one in means.values() for name in one["mean effective accuracy"]):
        row = [f"{one['mean effective accuracy'].get(name, float('nan')):.4f}" for one in means.values()]
        lines.append(f"| {name} | {' | '.join(row)} |")
    pictures = [f"![accuracy and attainment against load, {shape}](load-{shape}.png)" for shape in found]
    return "\n".join([*lines, "", *pictures]) + "\n"


def _short(value: str | float | None) -> str | float | None:
    return round(value, 5) if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
