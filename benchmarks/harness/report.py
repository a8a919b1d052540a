"""What an experiment leaves: tables, figures and data, each with the machine, versions, command and date."""

from __future__ import annotations

import csv
import json
import platform
import textwrap
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from matplotlib.figure import Figure

from downshift.runtime.machine import this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

Row = TypeVar("Row")
PACKAGES = ("downshift", "numpy", "onnxruntime-gpu", "torch")
WIDTH, DPI = 100, 110
_KINDS: Mapping[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float}


@dataclass(frozen=True)
class Report:
    """The files `name`.json, .csv, .md and .png in a folder, which is made if need be.

    command: what was run.
    """

    folder: Path
    name: str
    command: str

    def json(self, figures: Mapping[str, Any], *, seed: int | None = None) -> None:
        """Write the figures and how they came about; print the figures."""
        document = {**provenance(self.command, seed), **figures}
        self._path("json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(figures, indent=1))

    def csv(self, rows: Sequence[Row], kind: type[Row], same: Callable[[Row], Hashable]) -> list[Row]:
        """Put rows in place of those that are the `same`; returns all rows now in the file."""
        path, measured = self._path("csv"), {same(row) for row in rows}
        everything = [row for row in load(path, kind) if same(row) not in measured] + list(rows)
        write_csv(path, everything)
        return everything

    def markdown(self, title: str, notes: str, lines: Iterable[str]) -> str:
        """Write, print and return a page: title, notes as paragraphs, the lines, and how they came about."""
        about = provenance(self.command, None)
        versions = ", ".join(f"{name} {each}" for name, each in about["versions"].items())
        machine = f"{about['machine']['cpu']}, {about['machine']['cores']} cores; {versions}."
        made = f"Made on {about['date']} by `{self.command}`."
        paragraphs = [*notes.split("\n\n"), f"{machine} {made}"]
        head = [line for each in paragraphs for line in ["", *textwrap.wrap(each, WIDTH)]]
        page = "\n".join([f"# {title}", *head, "", *lines]).rstrip() + "\n"
        self._path("md").write_text(page, encoding="utf-8")
        print(page)
        return page

    def figure(self, figure: Figure) -> None:
        """Write the picture."""
        figure.savefig(self._path("png"), dpi=DPI)

    def _path(self, kind: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{self.name}.{kind}"


def provenance(command: str, seed: int | None) -> dict[str, Any]:
    """How a result came about: command, date, machine, versions, and the seed where there is one."""
    machine = this_machine(1, {})
    return {
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": {"cpu": machine.cpu, "cores": machine.cores, "gpus": list(machine.gpus)},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        **({} if seed is None else {"seed": seed}),
    }


def load(path: Path, kind: type[Row]) -> list[Row]:
    """The rows of a file, frozen dataclasses of text, integers and floats; none where there is no file."""
    if not path.exists():
        return []
    columns = {field.name: _KINDS[str(field.type)] for field in fields(kind)}  # type: ignore[arg-type]
    with path.open(newline="", encoding="utf-8") as file:
        return [
            kind(**{name: parse(line[name]) for name, parse in columns.items()})
            for line in csv.DictReader(file)
        ]


def write_csv(path: Path, rows: Sequence[Any]) -> None:
    """Write dataclasses or mappings with the same keys, floats to six digits."""
    lines = [row if isinstance(row, dict) else asdict(row) for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(lines[0])
        for line in lines:
            writer.writerow(f"{each:.6g}" if isinstance(each, float) else each for each in line.values())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]


def panels(
    rows: int, columns: int, *, size: tuple[float, float] = (5.0, 3.0), share_time: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure and its panels, row by row, each with a grid; size: inches of a panel."""
    figure = Figure(figsize=(size[0] * columns, 1.0 + size[1] * rows), layout="constrained")
    found = list(figure.subplots(rows, columns, sharex=share_time, squeeze=False).flat)
    for axes in found:
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    return figure, found
