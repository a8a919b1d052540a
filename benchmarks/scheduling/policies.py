"""Which scheduling policy serves best, on the same arrivals in virtual time?

    python -m benchmarks.scheduling.policies --arrivals 2500 --traces data/traces/azure_llm_2023

Every policy meets rate x burstiness x budget, steps of load, and the Azure LLM inference traces 2023 where
they are; again for every seed, and for profiles of several shapes, as what batching saves decides what
policies are worth. Reports go to a folder `policies`: for each shape the cells with every figure, a summary
with the goals (means over the seeds beside the figures of each) and pictures; for all shapes together
README.md. Rivals are our re-implementations from the papers.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.experiment import experiment
from benchmarks.harness.report import write_csv
from benchmarks.scheduling.goals import Cell, page, summary
from downshift.runtime.simulator import comparison, profile_file
from downshift.runtime.simulator import report as pictures
from downshift.runtime.simulator.arrivals import Arrivals
from downshift.runtime.simulator.comparison import OURS, PolicyResult
from downshift.runtime.simulator.engine import Scenario, simulate
from downshift.runtime.simulator.oracle import oracle
from downshift.runtime.simulator.policies import table
from downshift.runtime.simulator.synthetic import synthetic_profile
from downshift.runtime.simulator.trace import Trace
from downshift.runtime.simulator.trace_file import read

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence

    from benchmarks.harness.report import Report
    from downshift.runtime.profiling.profile import Profile

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


def sweep(
    profile: Profile, policies: Sequence[str], arrivals: int, seed: int, traces: Path
) -> Iterator[Cell]:
    """Every cell, the pattern of arrivals the same for all loads of one burstiness."""
    built = cache(
        partial(table.build, profile=profile)
    )  # RAMSIS takes seconds, and is the same at every load

    def measure(pattern: Trace, load: float, budget: float, cv2: float | None = None) -> Cell:
        slo = budget * profile.subnets[0].p50[1]
        scenario = Scenario(pattern.at_rate(load * comparison.capacity(profile)), profile, slo=slo, seed=seed)
        results = [PolicyResult(load, oracle(scenario), None)]
        for name in policies:
            outcome = simulate(scenario, built(name, slo=slo))
            results.append(PolicyResult(load, outcome.summary(name), outcome if name == OURS else None))
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


def write(report: Report, shape: str, cells: Sequence[Cell], goals: dict[str, Any]) -> None:
    """Leave cells, summary and two pictures of the first seed, named after the shape."""
    report.folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "seed": cell.seed,
            "arrivals": cell.arrivals,
            "load": cell.load,
            "cv2": cell.cv2,
            "budget": cell.budget,
            **asdict(result.summary),
        }
        for cell in cells
        for result in cell.results
    ]
    write_csv(report.folder / f"cells-{shape}.csv", rows)
    replace(report, name=f"summary-{shape}").json(goals)
    first = [cell for cell in cells if cell.seed == cells[0].seed]
    shown = [cell for cell in first if (cell.arrivals, cell.cv2, cell.budget) == ("gamma", 8.0, 8.0)]
    results = [result for cell in shown for result in cell.results]
    pictures.draw_load(report.folder / f"load-{shape}.png", results)
    steps = next(cell for cell in first if (cell.arrivals, cell.budget) == ("steps", 8.0))
    replay = steps[OURS].replay
    if replay is not None:
        pictures.draw_timeline(report.folder / f"timeline-{shape}.png", replay)


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--traces", type=Path, default=Path("data/traces/azure_llm_2023"))
    parser.add_argument("--arrivals", type=int, default=5000, help="requests in each cell")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--shapes", choices=SHAPES, nargs="*", default=list(SHAPES))
    parser.add_argument("--profile", type=Path, help="a measured profile, swept as the shape `measured`")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), help="ours and slackfit among them")


def measure(chosen: Namespace, report: Report) -> None:
    """Sweep every shape with every seed."""
    report = replace(report, folder=report.folder / "policies")
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
        write(report, shape, cells, goals)
    (report.folder / "README.md").write_text(page(report.folder), encoding="utf-8")


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
