"""The small edition of the hot-swap run: nothing lost, nothing wrong, no 5xx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.server.swaps import swap_and_drain
from downshift.models.artifact import write
from tests.models.tiny_artifact import tiny_artifact

if TYPE_CHECKING:
    from pathlib import Path


def test_requests_survive_swaps_rollbacks_and_the_drain(tmp_path: Path) -> None:
    write(tmp_path / "tiny.onnx", tiny_artifact())
    result = swap_and_drain(
        tmp_path / "tiny.onnx", swaps=12, requests=300, connections=4, seconds=240, told=lambda _: None
    )
    assert result["swaps"] == 12
    assert result["requests"] >= 300
    assert result["statuses"] == {"200": result["requests"]}
    assert (result["lost"], result["wrong"], result["rolled_back"]) == (0, 0, 2)
    assert set(result["drain"]["statuses"]) <= {"200", "503"}
    assert result["drain"]["exit_code"] == 0
