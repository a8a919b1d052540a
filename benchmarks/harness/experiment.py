"""The frame of an experiment: its command line, its exit status, and where its report goes.

An experiment is a module `benchmarks.<room>.<name>`. Its docstring states the question, the set-up and an
example of the command; `experiment` makes its `main`, with that docstring as the help text.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchmarks.harness.errors import ExperimentError
from benchmarks.harness.report import Report
from downshift.models.errors import ModelsError
from downshift.runtime.errors import RuntimeFault
from downshift.runtime.json_cache import default_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESULTS = Path(__file__).parents[1] / "results"
CACHE = (default_folder() or Path.cwd()) / "benchmarks"
_EXAMPLE = re.compile(r"^ *python -m (benchmarks\.(\w+)\.(\w+))", re.MULTILINE)


class Main(Protocol):
    """The `main` of an experiment."""

    def __call__(self, arguments: Sequence[str] | None = None, /) -> int:
        """The exit status for these arguments of the command line, by default the process's."""
        ...


def experiment(
    doc: str | None,
    options: Callable[[argparse.ArgumentParser], None],
    measure: Callable[[argparse.Namespace, Report], None],
) -> Main:
    """The `main` of an experiment: from the command line's arguments to the exit status.

    doc: the module's docstring. options: adds the experiment's options. measure: measures and reports.
    Without arguments the process's are read. Status 0: a report; 2: one line on stderr.
    """
    example = _EXAMPLE.search(doc or "")
    if example is None:
        raise ValueError("the docstring has no line `python -m benchmarks.<room>.<experiment> ...`")
    module, room, name = example.groups()

    def main(arguments: Sequence[str] | None = None) -> int:
        parser = argparse.ArgumentParser(
            f"python -m {module}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        options(parser)
        parser.add_argument("--out", type=Path, default=RESULTS / room, help="folder of the report")
        given = sys.argv[1:] if arguments is None else list(arguments)
        chosen = parser.parse_args(given)
        try:
            measure(chosen, Report(chosen.out, name, " ".join([parser.prog, *given])))
        except (ExperimentError, ModelsError, RuntimeFault) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        return 0

    return main


def served_options(parser: argparse.ArgumentParser, threads: int | None = 1) -> None:
    """Options of what is served: network, cache and, unless that is None, by default so many threads."""
    parser.add_argument("network", help="an artifact, or a network to make a random artifact of")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for artifacts and profiles")
    if threads is not None:
        parser.add_argument("--threads", type=int, default=threads, help="of one inference")
