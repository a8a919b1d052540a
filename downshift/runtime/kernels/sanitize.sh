#!/usr/bin/env bash
# The kernels' tests against a build with AddressSanitizer and UndefinedBehaviorSanitizer.
# Usage: downshift/runtime/kernels/sanitize.sh [pytest arguments]; PYTHON and BUILD may name an interpreter and a folder.
set -euo pipefail
cd "$(dirname "$0")/../../.."
python=${PYTHON:-.venv/bin/python}
build=${BUILD:-build/sanitize}
cmake -S downshift/runtime/kernels -B "$build" -DPython_EXECUTABLE="$(realpath -s "$python")" -DDOWNSHIFT_SANITIZE=ON -DDOWNSHIFT_EVEX=ON -DDOWNSHIFT_STRICT=ON >/dev/null
cmake --build "$build" --parallel 2
# EVEX: machines with AVX-512 VNNI alone test the kernels of AVX-VNNI, too. CPython frees little at exit: leaks are not looked for. The sanitized module takes the installed one's place.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)" "$python" - "$build" "$@" <<'PYTHON'
import importlib.util
import pathlib
import sys

import pytest

build, *arguments = sys.argv[1:]
library = next(pathlib.Path(build).glob("_kernels*.so"))
spec = importlib.util.spec_from_file_location("downshift.runtime._kernels", library)
sys.modules["downshift.runtime._kernels"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["downshift.runtime._kernels"])
sys.exit(pytest.main(["-p", "no:cacheprovider", "tests/runtime/test_kernels.py", "tests/runtime/test_int8_kernels.py", *arguments]))
PYTHON
