from __future__ import annotations

import pytest

from models.errors import UnknownName
from runtime import engines, programs
from runtime.errors import EngineUnavailable, UnsupportedModel
from runtime.programs import compile_artifact, compile_with
from tests.models.tiny_artifact import tiny_artifact
from tests.runtime.doubles import FakeClock, FakeEngine, FakeProgram

ARTIFACT = tiny_artifact(2)  # sub-nets s0, s1
PROGRAM = FakeProgram(FakeClock())


def engine(name: str, s0: FakeProgram | UnsupportedModel, s1: FakeProgram | UnsupportedModel) -> FakeEngine:
    return FakeEngine(name, {"s0": s0, "s1": s1})


def test_every_engine_gives_its_programs() -> None:
    a, b = engine("a", PROGRAM, PROGRAM), engine("b", PROGRAM, PROGRAM)
    compiled = compile_with([a, b], ARTIFACT, threads=3)
    assert {name: list(found) for name, found in compiled.by_subnet.items()} == {
        "s0": ["a", "b"],
        "s1": ["a", "b"],
    }
    assert (compiled.versions, compiled.skipped, compiled.threads) == ({"a": "1", "b": "1"}, (), 3)


def test_an_engine_is_passed_over_for_a_sub_net_it_cannot_run_and_the_reason_is_kept() -> None:
    picky = engine("picky", PROGRAM, UnsupportedModel("no operator Foo"))
    compiled = compile_with([picky, engine("plain", PROGRAM, PROGRAM)], ARTIFACT, threads=1)
    assert list(compiled.by_subnet["s0"]) == ["picky", "plain"]
    assert list(compiled.by_subnet["s1"]) == ["plain"]
    assert compiled.skipped == ("no operator Foo",)


def test_an_engine_that_can_run_nothing_is_passed_over_altogether() -> None:
    class Hopeless(FakeEngine):
        def compile(self, *args: object, **options: object) -> dict[str, FakeProgram]:
            raise UnsupportedModel("no operator Bar")

    compiled = compile_with([Hopeless("x", {}), engine("plain", PROGRAM, PROGRAM)], ARTIFACT, threads=1)
    assert list(compiled.versions) == ["plain"]
    assert compiled.skipped == ("no operator Bar",)


def test_a_sub_net_that_nothing_runs_is_an_error_with_all_reasons() -> None:
    with pytest.raises(UnsupportedModel, match=r"sub-net s1 runs on no engine: no operator Foo"):
        compile_with([engine("picky", PROGRAM, UnsupportedModel("no operator Foo"))], ARTIFACT, threads=1)


def test_programs_are_found_by_sub_net_and_engine() -> None:
    other = FakeProgram(FakeClock())
    compiled = compile_with([engine("a", PROGRAM, PROGRAM), engine("b", other, other)], ARTIFACT, threads=1)
    assert compiled.get("s0") is PROGRAM
    assert compiled.get("s0", "b") is other
    with pytest.raises(UnknownName, match="unknown sub-net 's9'"):
        compiled.get("s9")
    with pytest.raises(UnknownName, match="unknown engine 'c'"):
        compiled.get("s0", "c")


def test_a_default_engine_that_cannot_work_here_is_skipped_but_one_asked_for_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "ENGINES", {**engines.ENGINES, "absent": "runtime.no_such_engine:Engine"})
    monkeypatch.setattr(programs, "DEFAULT_ENGINES", ("absent", "onnxruntime"))
    compiled = compile_artifact(ARTIFACT, threads=1)
    assert list(compiled.versions) == ["onnxruntime"]
    assert "engine absent: No module named" in compiled.skipped[0]
    with pytest.raises(EngineUnavailable, match="engine absent: No module named"):
        compile_artifact(ARTIFACT, threads=1, engines=["absent"])


def test_an_unknown_engine_is_named_beside_those_there_are() -> None:
    with pytest.raises(UnknownName, match=r"unknown engine 'onnx'.*onnxruntime"):
        compile_artifact(ARTIFACT, threads=1, engines=["onnx"])
