"""Peak arithmetic: the most float32 multiply-adds a second that this machine's cores can do."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness.errors import ExperimentError

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).with_name("fma.cpp")
REPEATS = 5
FACTOR = 0.5  # passed at run time, so that no compiler can know the sums


class NoPeak(ExperimentError):  # noqa: N818 - reads well where it is raised
    """The peak cannot be measured here; the text says why."""


def peak(threads: int) -> float:
    """Multiply-adds a second of that many threads at once; raises `NoPeak`."""
    measure = _compiled()
    with ThreadPoolExecutor(threads) as pool:  # a foreign function is called without the GIL
        rates = list(pool.map(lambda _: measure(REPEATS, FACTOR), range(threads)))
    if not all(rate > 0 for rate in rates):
        raise NoPeak(f"{SOURCE.name}: the sums are wrong; try another compiler in CXX")
    return sum(rates)


@cache
def _compiled() -> Callable[[int, float], float]:
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        raise NoPeak(f"no C++ compiler {compiler!r}: install one or name it in CXX")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "fma.so"
        options = ["-O3", "-march=native", "-std=c++17", "-ffp-contract=fast", "-shared", "-fPIC"]
        done = subprocess.run(  # noqa: S603 - the user's own compiler
            [compiler, *options, str(SOURCE), "-o", str(library)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NoPeak(f"{SOURCE.name} does not compile: {done.stderr.strip().splitlines()[0]}")
        measure = ctypes.CDLL(str(library)).multiply_adds_a_second
    measure.restype, measure.argtypes = ctypes.c_double, [ctypes.c_int, ctypes.c_float]
    return measure
