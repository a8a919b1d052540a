"""The peak is measured by a program of its own, which needs a compiler."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.engines import peak


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_the_sums_are_right_and_a_rate_comes_out() -> None:
    assert peak.peak(1) > 0


def test_a_compiler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    peak._compiled.cache_clear()
    with pytest.raises(peak.NoPeak, match="no-such-compiler"):
        peak.peak(1)
    peak._compiled.cache_clear()
