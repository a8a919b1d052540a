"""The frame of an experiment: its command line, its exit status, and where its report goes.

An experiment is a module `benchmarks.<room>.<name>`. Its docstring states the question, the set-up and an
example of the command; `run` reads the command line with that docstring as the help text.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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


def run(
    doc: str | None,
    options: Callable[[argparse.ArgumentParser], None],
    measure: Callable[[argparse.Namespace, Report], None],
    arguments: Sequence[str] | None,
) -> int:
    """The exit status of an experiment: 0 with a report, 2 with one line on stderr.

    doc: the module's docstring. options: adds the experiment's options. measure: measures and reports.
    arguments: of the command line, by default the process's.
    """
    example = _EXAMPLE.search(doc or "")
    if example is None:
        raise ValueError("the docstring has no line `python -m benchmarks.<room>.<experiment> ...`")
    module, room, name = example.groups()
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
