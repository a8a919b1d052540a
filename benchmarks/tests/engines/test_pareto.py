"""The Pareto picture: who is on the front, and where a peer is more accurate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.engines import pareto
from benchmarks.engines.pareto import Row, front, lost, sentence
from benchmarks.engines.tasks import quantized
from downshift.models.artifact import write
from tests.models.tiny_artifact import CHANNELS, CLASSES, SIDE, tiny_artifact

if TYPE_CHECKING:
    from pathlib import Path


def row(name: str, milliseconds: float, accuracy: float, *, ours: bool = True) -> Row:
    seconds = milliseconds / 1e3
    return Row(name, int(ours), "sparse", 0.5, 1, 1, seconds, seconds, seconds, accuracy, 100)


def test_the_front_holds_those_that_no_faster_one_reaches() -> None:
    rows = [row("a", 1, 0.8), row("b", 2, 0.7), row("c", 3, 0.9), row("d", 3, 0.85)]
    assert [each.artifact for each in front(rows)] == ["a", "c"]


def test_latencies_at_which_a_peer_is_more_accurate_are_named() -> None:
    rows = [row("fast", 1, 0.7), row("peer", 2, 0.8, ours=False), row("slow", 4, 0.9)]
    assert [(begin, end, peer.artifact) for begin, end, peer in lost(rows)] == [(0.002, 0.004, "peer")]
    assert "2 to 4 ms (peer" in sentence(rows)
    assert sentence([row("fast", 1, 0.7), row("slow", 4, 0.9)]).startswith("Nobody")


def test_a_peer_that_is_the_best_of_all_or_the_fastest_is_named_without_an_end() -> None:
    rows = [row("peer", 1, 0.5, ours=False), row("fast", 2, 0.7), row("best", 5, 0.95, ours=False)]
    assert [(begin, end) for begin, end, _ in lost(rows)] == [(0.001, 0.002), (0.005, np.inf)]


def test_as_accurate_as_a_peer_is_not_lost() -> None:
    assert lost([row("peer", 1, 0.8, ours=False), row("ours", 1, 0.8)]) == []


def test_programs_of_both_kinds_are_raced_and_counted(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="pip install -e '.[openvino]'")
    write(tmp_path / "tiny.onnx", tiny_artifact())
    entry = pareto.Entry("tiny", quantized(tiny_artifact(), tmp_path), ours=True)
    programs = entry.programs(pareto.COUNTED, 1, 0.0, tmp_path)
    assert {"sparse", "sparse-int8", "onnxruntime", "onnxruntime-int8", "openvino-int8"} <= {
        program.engine for program in programs
    }
    noise = np.random.default_rng(0)
    images = noise.integers(0, 256, (pareto.COUNTED + 3, SIDE, SIDE, CHANNELS), np.uint8)
    labels = noise.integers(0, CLASSES, len(images))
    ratios = [pareto.accuracy_of(program, images, labels, entry.artifact) for program in programs]
    assert all(0.0 <= ratio <= 1.0 for ratio in ratios)
