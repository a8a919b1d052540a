"""The plan of all races: what it covers, what of it is missing, and how one of its cells is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.engines import matrix
from benchmarks.engines.matrix import Cell
from benchmarks.engines.rows import Row
from benchmarks.harness.networks import MASKS, TRAINED

if TYPE_CHECKING:
    import pytest

CELL = Cell("torchvision/resnet50", "erk", 2, (1, 8), ours=("s90",))


def raced(batch: int, version: str = "now", engine: str = "sparse") -> Row:
    return Row("resnet50", "erk", batch, 2, engine, version, 0.9, 1.0, 1.0, 1.0, 9, 0.5, 0.0)


def test_every_network_is_raced_with_both_allocations_all_batches_and_threads() -> None:
    covered = {
        (Path(cell.network).stem, cell.masks, batch, cell.threads)
        for cell in matrix.plan()
        for batch in cell.batches
    }
    for network in (*matrix.SMALL, "torchvision/resnet50"):
        for masks in ("uniform", "erk"):
            for batch in (1, 8, 32):
                assert {(Path(network).stem, masks, batch, threads) for threads in (1, 2)} <= covered
    assert {masks for _, masks, *_ in covered} == {*MASKS, TRAINED}


def test_a_cell_is_missing_until_our_kernels_of_this_version_raced_in_it() -> None:
    assert CELL.missing([], "now") == (1, 8)
    assert CELL.missing([raced(1), raced(8, "before"), raced(8, engine="onnxruntime")], "now") == (8,)
    assert CELL.missing([raced(1), raced(8)], "now") == ()


def test_a_cell_becomes_arguments_of_the_race(tmp_path: Path) -> None:
    arguments = CELL.arguments((8,), tmp_path)
    assert arguments[:5] == ["torchvision/resnet50", "--threads", "2", "--batch", "8"]
    assert arguments[-5:] == ["--deepsparse", str(tmp_path), "--deepsparse-subnets", "s00", "s90"]
    assert "--subnets s90" in " ".join(CELL.arguments((8,), None))
    assert "--deepsparse" not in CELL.arguments((8,), None)


def test_nothing_is_raced_that_is_only_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert matrix.main(["--list", "--match", "vgg19-bn erk", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == (
        "== cifar-vgg19-bn erk, threads 1, batch 1, 8, 32\n== cifar-vgg19-bn erk, threads 2, batch 1, 8, 32\n"
    )


def test_a_cell_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--match", "vgg19-bn erk", "--out", str(tmp_path), "--through", "false"]
    assert matrix.main(arguments) == 2
    said = capfd.readouterr()
    assert said.out.count("== cifar-vgg19-bn erk") == said.err.count("failed: cifar-vgg19-bn erk") == 2


def test_no_cell_begins_when_the_time_is_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert matrix.main(["--minutes", "0", "--out", str(tmp_path), "--through", "false"]) == 0
    assert "run it again for the rest" in capsys.readouterr().out
