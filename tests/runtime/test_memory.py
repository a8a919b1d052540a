from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import psutil
from downshift.runtime.memory import release
resident = lambda: psutil.Process().memory_info().rss >> 20
pieces = [bytes([1]) * 60_000 for _ in range(2000)]
pieces[:-1] = []  # the last keeps the heap from shrinking by itself
before = resident()
release()
print(before, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory so")
def test_freed_memory_goes_back_to_the_system() -> None:
    asked = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, after = map(int, asked.stdout.split())
    assert before - after > 90, "MiB of about 114"
