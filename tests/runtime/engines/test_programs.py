from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from downshift.models.errors import UnknownName
from downshift.runtime.engines import table as engines
from downshift.runtime.engines.programs import Engines, Programs, compile_artifact, load_engines
from downshift.runtime.errors import EngineUnavailable, UnsupportedModel
from downshift.runtime.json_cache import JsonCache
from tests.models.tiny_artifact import tiny_artifact
from tests.runtime.doubles import FakeClock, FakeEngine, FakeProgram
from tests.runtime.quantized import quantized_artifact

if TYPE_CHECKING:
    from pathlib import Path

ARTIFACT = tiny_artifact(2)  # sub-nets s0, s1
PROGRAM = FakeProgram(FakeClock())
QUANTIZED = quantized_artifact(2)


def engine(name: str, s0: FakeProgram | UnsupportedModel, s1: FakeProgram | UnsupportedModel) -> FakeEngine:
    return FakeEngine(name, {"s0": s0, "s1": s1})


def compiled(*loaded: FakeEngine, without: frozenset[tuple[str, str]] = frozenset()) -> Programs:
    return compile_artifact(ARTIFACT, Engines(loaded), threads=3, without=without)


def pairs(programs: Programs) -> set[tuple[str, str]]:
    return {(subnet, name) for subnet, found in programs.by_subnet.items() for name in found}


def test_every_engine_gives_its_programs() -> None:
    programs = compiled(engine("a", PROGRAM, PROGRAM), engine("b", PROGRAM, PROGRAM))
    assert pairs(programs) == {("s0", "a"), ("s0", "b"), ("s1", "a"), ("s1", "b")}
    assert (programs.versions, programs.skipped, programs.threads) == ({"a": "1", "b": "1"}, (), 3)


def test_an_engine_is_passed_over_for_a_sub_net_it_cannot_run_and_the_reason_is_kept() -> None:
    picky = engine("picky", PROGRAM, UnsupportedModel("no operator Foo"))
    programs = compiled(picky, engine("plain", PROGRAM, PROGRAM))
    assert pairs(programs) == {("s0", "picky"), ("s0", "plain"), ("s1", "plain")}
    assert programs.skipped == ("no operator Foo",)


def test_an_engine_that_can_run_nothing_is_passed_over_altogether() -> None:
    class Hopeless(FakeEngine):
        def compile(self, *args: object, **options: object) -> dict[str, FakeProgram]:
            raise UnsupportedModel("no operator Bar")

    programs = compiled(Hopeless("x", {}), engine("plain", PROGRAM, PROGRAM))
    assert pairs(programs) == {("s0", "plain"), ("s1", "plain")}
    assert programs.skipped == ("no operator Bar",)


def test_a_sub_net_that_nothing_runs_is_an_error_with_all_reasons() -> None:
    with pytest.raises(UnsupportedModel, match=r"sub-net s1 runs on no engine: no operator Foo"):
        compiled(engine("picky", PROGRAM, UnsupportedModel("no operator Foo")))


def test_what_is_known_to_be_of_no_use_is_not_compiled() -> None:
    other = FakeEngine("b", {"s1": PROGRAM})  # would fail if s0 were asked of it
    programs = compiled(engine("a", PROGRAM, PROGRAM), other, without=frozenset({("s0", "b")}))
    assert pairs(programs) == {("s0", "a"), ("s1", "a"), ("s1", "b")}
    without = frozenset({("s0", "b"), ("s1", "b")})
    alone = compiled(engine("a", PROGRAM, PROGRAM), FakeEngine("b", {}), without=without)
    assert pairs(alone) == {("s0", "a"), ("s1", "a")}


def test_programs_can_be_let_go() -> None:
    programs = compiled(engine("a", PROGRAM, PROGRAM), engine("b", PROGRAM, PROGRAM))
    assert pairs(programs.without({("s0", "a"), ("s1", "b")})) == {("s0", "b"), ("s1", "a")}
    assert len(pairs(programs)) == 4


def test_warming_up_runs_every_program_once() -> None:
    a, b = FakeProgram(FakeClock()), FakeProgram(FakeClock())
    compiled(engine("x", a, b)).warm_up((1, 1, 2))
    assert a.batches == b.batches == [[0.0]]


def test_programs_are_found_by_sub_net_and_engine() -> None:
    other = FakeProgram(FakeClock())
    programs = compiled(engine("a", PROGRAM, PROGRAM), engine("b", other, other))
    assert programs.get("s0") is PROGRAM
    assert programs.get("s0", "b") is other
    with pytest.raises(UnknownName, match="unknown sub-net 's9'"):
        programs.get("s9")
    with pytest.raises(UnknownName, match="unknown engine 'c'"):
        programs.get("s0", "c")


def test_a_default_engine_that_cannot_work_here_is_skipped_but_one_asked_for_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engines, "ENGINES", {**engines.ENGINES, "absent": "runtime.no_such_engine:Engine"})
    monkeypatch.setattr(engines, "DEFAULT_ENGINES", ("absent", "onnxruntime"))
    found = load_engines(None, JsonCache(tmp_path))
    assert list(found.versions) == ["onnxruntime"]
    assert "engine absent: No module named" in found.skipped[0]
    assert compile_artifact(ARTIFACT, found, threads=1).skipped == found.skipped
    with pytest.raises(EngineUnavailable, match="engine absent: No module named"):
        load_engines(["absent"], JsonCache(tmp_path))


def test_an_unknown_engine_is_named_beside_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown engine 'onnx'.*onnxruntime"):
        load_engines(["onnx"], JsonCache(tmp_path))


def test_every_engine_compiles_the_points_of_its_precision() -> None:
    int8 = FakeEngine("i", {"s0-int8": PROGRAM, "s1-int8": UnsupportedModel("no table")}, precision="int8")
    programs = compile_artifact(QUANTIZED, Engines((engine("f", PROGRAM, PROGRAM), int8)), threads=1)
    assert pairs(programs) == {("s0", "f"), ("s0-int8", "i"), ("s1", "f")}
    assert list(programs.by_subnet) == ["s0", "s0-int8", "s1"], "densest first"
    assert programs.skipped == ("no table",), "a sub-net that cannot run in int8 stays in float32"


def test_a_sub_net_may_be_served_in_int8_alone() -> None:
    int8 = FakeEngine("i", {"s0-int8": PROGRAM, "s1-int8": PROGRAM}, precision="int8")
    assert pairs(compile_artifact(QUANTIZED, Engines((int8,)), threads=1)) == {
        ("s0-int8", "i"),
        ("s1-int8", "i"),
    }


def test_an_engine_whose_package_is_not_installed_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engines, "ENGINES", {"x": "no_such_package:Engine"})
    monkeypatch.setattr(engines, "EXTRAS", {"no_such_package": "some"})
    with pytest.raises(EngineUnavailable) as caught:
        load_engines(["x"], JsonCache(tmp_path))
    assert (caught.value.missing, caught.value.remedy) == (
        "No module named 'no_such_package'",
        "pip install 'downshift[some]'",
    )
