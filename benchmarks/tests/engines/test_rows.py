"""Rows of races on disk: they replace those of the same race, and the page says who won."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.engines import rows as races
from benchmarks.engines.rows import Row
from benchmarks.harness.report import Report, load

if TYPE_CHECKING:
    from pathlib import Path


def row(engine: str, sparsity: float, seconds: float, network: str = "net", masks: str = "uniform") -> Row:
    return Row(network, masks, 1, 2, engine, "1.0", sparsity, seconds, seconds, seconds, 10, 0.5, 0.01)


RACE = [
    row("onnxruntime", 0, 4e-3),
    row("openvino", 0, 3e-3),
    row("openvino-bf16", 0, 1e-3),
    row("deepsparse", 0.9, 2e-3),
    row("sparse", 0, 6e-3),
    row("sparse", 0.9, 5e-4),
]


def test_rows_of_the_same_race_are_replaced_and_others_kept(tmp_path: Path) -> None:
    report = Report(tmp_path, "engines", "race")
    races.add(report, RACE)
    other = [row("openvino", 0, 5e-3, "other"), row("sparse", 0.9, 1e-3, "other")]
    races.add(report, other)
    races.add(report, RACE[:2] + RACE[4:])
    rows = load(tmp_path / "engines.csv", Row)
    assert len(rows) == 6
    assert set(other) <= set(rows)
    assert (tmp_path / "engines.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_compares_with_the_best_dense_engine_of_any_precision() -> None:
    (line,) = [line for line in races.page(RACE) if "(openvino-bf16)" in line]
    assert line == (
        "| net | uniform | 2 | 1 | 1 (openvino-bf16) | 3 (0.33x) | 1 (1.00x) | - | - | 2 (0.50x) | 6 (0.17x) "
        "| 0.5 (2.00x) | - | - |"
    )
    int8 = [row("openvino-int8", 0, 8e-4), row("onnxruntime-int8", 0, 9e-4), row("sparse-int8", 0.9, 1e-4)]
    (line,) = [line for line in races.page(RACE + int8) if "(openvino-int8)" in line]
    assert line == (
        "| net | uniform | 2 | 1 | 0.8 (openvino-int8) | 3 (0.27x) | 1 (0.80x) | 0.8 (1.00x) | - | 2 (0.40x) "
        "| 6 (0.13x) | 0.5 (1.60x) | - | 0.1 (8.00x) |"
    )


def test_sparsities_a_little_off_stand_in_the_column_of_what_was_asked_for() -> None:
    channel = [row("onnxruntime", 0, 4e-3, masks="channel"), row("sparse", 0.490272, 2e-3, masks="channel")]
    even = [row("onnxruntime", 0, 4e-3), row("sparse", 0.499999, 1e-3), row("sparse", 0.62, 5e-4)]
    lines = races.page(channel + even)
    heads = [line for line in lines if "| best dense |" in line or "| best dense fp32 |" in line]
    assert len(heads) == 2
    assert heads[0].endswith("| ours 50% | ours 62% | int8 50% | int8 62% |")
    assert heads[1].endswith("| ours 50% | ours 62% |")
    assert (
        "| net | channel | 2 | 1 | 4 (onnxruntime) | 4 (1.00x) | - | - | - | - | 2 (2.00x) | - | - | - |"
        in lines
    )
    dense = "| net | uniform | 2 | 1 | 4 (onnxruntime) | 4 (1.00x) | - | - | - | - |"
    assert f"{dense} 1 (4.00x) | 0.5 (8.00x) | - | - |" in lines


def test_deepsparse_is_a_dense_engine_only_where_there_is_nothing_to_skip() -> None:
    rows = [row("onnxruntime", 0, 4e-3), row("deepsparse", 0, 2e-3), row("sparse", 0.9, 1e-3)]
    assert races.best_dense(rows).engine == "deepsparse"
    trained = [row("onnxruntime", 0.5, 4e-3), row("deepsparse", 0.5, 2e-3), row("sparse", 0.9, 1e-3)]
    assert races.best_dense(trained).engine == "onnxruntime"


def test_where_channels_are_gone_the_page_shows_every_engine_at_every_sparsity() -> None:
    rows = [row(engine, sparsity, 4e-3, masks="channel") for engine in ("onnxruntime", "sparse")
            for sparsity in (0.0, 0.75)]  # fmt: skip
    lines = races.page(rows)
    assert "| net | channel | 2 | 1 | 75% | 4 | 4 |" in lines
