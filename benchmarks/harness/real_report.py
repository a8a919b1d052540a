"""What a run against the real server leaves behind: a document that says how it came about, and a picture."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from benchmarks.harness.real_server import RealServer

RESULTS = Path(__file__).parents[1] / "results" / "scheduling"


def circumstances(module: str, arguments: Sequence[str] | None, server: RealServer) -> dict[str, Any]:
    """Which command measured what, on which machine and with which profile."""
    profile, shape = server.profile, "x".join(map(str, server.manifest.input.shape))
    return {
        "command": " ".join([f"python -m benchmarks.{module}", *(arguments or sys.argv[1:])]),
        "network": f"{server.manifest.network}, input {shape}",
        "synthetic": server.manifest.provenance.synthetic,
        "machine": asdict(profile.machine),
        "profile p50/p99 ms, batch 1": {s.name: [1e3 * s.p50[1], 1e3 * s.p99[1]] for s in profile.subnets},
        "accuracies": {s.name: s.accuracy for s in profile.subnets},
    }


def panels(rows: int, columns: int, *, share_time: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure and its panels, row by row, each with a grid."""
    figure = Figure(figsize=(10, 1.5 + 2.5 * rows), layout="constrained")
    found = list(figure.subplots(rows, columns, sharex=share_time, squeeze=False).flat)
    for axis in found:
        axis.grid(alpha=0.3)
    return figure, found


def keep(folder: Path, name: str, document: dict[str, Any], figure: Figure) -> None:
    """Write `name`.json and `name`.png into the folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    figure.savefig(folder / f"{name}.png", dpi=110)
