from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from downshift.runtime.engines import diagnosis
from downshift.runtime.engines.diagnosis import REPORT, Diagnosis, diagnose
from downshift.runtime.errors import EngineUnavailable, UnsupportedModel
from downshift.runtime.json_cache import JsonCache
from tests.models.tiny_artifact import tiny_artifact
from tests.runtime.doubles import FakeClock, FakeEngine, FakeProgram

if TYPE_CHECKING:
    from collections.abc import Callable

    from downshift.runtime.gpu.driver import DeviceChoice

ARTIFACT = tiny_artifact(2)
CACHE = JsonCache(None)


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeEngine | Exception], None]:
    """Makes the table load that engine, or raise that error."""

    def use(engine: FakeEngine | Exception) -> None:
        def load(name: str, cache: JsonCache, choice: DeviceChoice) -> FakeEngine:
            if isinstance(engine, Exception):
                raise engine
            return engine

        monkeypatch.setattr(diagnosis, "load_engine", load)

    return use


def test_an_engine_that_compiles_and_answers_works() -> None:
    found = diagnose("onnxruntime", ARTIFACT, CACHE)
    assert (found.works, found.missing, found.remedy) == (True, None, None)
    assert found.version


def test_what_an_engine_lacks_is_said_with_the_remedy(
    loading: Callable[[FakeEngine | Exception], None],
) -> None:
    loading(EngineUnavailable("x", "libfoo.so.1 is missing", "install foo"))
    assert diagnose("x", ARTIFACT, CACHE) == Diagnosis("x", None, "libfoo.so.1 is missing", "install foo")


def test_an_engine_that_loads_and_cannot_compile_does_not_work(
    loading: Callable[[FakeEngine | Exception], None],
) -> None:
    loading(FakeEngine("x", {"s1": UnsupportedModel("no operator Foo\nand more")}))
    assert diagnose("x", ARTIFACT, CACHE) == Diagnosis("x", None, "no operator Foo", REPORT)


def test_an_engine_that_answers_no_numbers_does_not_work(
    loading: Callable[[FakeEngine | Exception], None],
) -> None:
    loading(FakeEngine("x", {"s1": FakeProgram(FakeClock(), garbage=0.0)}))
    found = diagnose("x", ARTIFACT, CACHE)
    assert (found.works, found.missing) == (False, "sub-net s1 answers NaN or infinity")


def test_only_the_sparsest_is_run_once_on_zeros(loading: Callable[[FakeEngine | Exception], None]) -> None:
    program = FakeProgram(FakeClock())
    loading(FakeEngine("x", {"s1": program}))
    assert diagnose("x", ARTIFACT, CACHE) == Diagnosis("x", "1")
    assert program.batches == [[np.float32(0.0)]]


@pytest.mark.parametrize("silent", [MemoryError(), AssertionError(), RuntimeError("  \n")])
def test_an_error_without_a_text_is_told_by_its_kind(
    silent: Exception, loading: Callable[[FakeEngine | Exception], None]
) -> None:
    loading(silent)
    assert diagnose("x", ARTIFACT, CACHE) == Diagnosis("x", None, type(silent).__name__, REPORT)
