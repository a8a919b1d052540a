"""Rows of the server comparison: replaced server by server, medians over rounds, ratios on the same wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.harness.report import DENSE, JSON, SPARSE, Row, add, load, ratio

if TYPE_CHECKING:
    from pathlib import Path


def row(server: str, throughput: float, turn: int = 0, concurrency: int = 1, network: str = "net") -> Row:
    return Row(
        network, server, "1.0", concurrency, turn, throughput, 1e-3, 2e-3, 0, 100, 1.0, 0.1, 0.0, 0.5, ""
    )


ROWS = [
    row(DENSE, 900), row(DENSE, 1100, 1), row(JSON, 600), row(SPARSE, 4000),
    row("LitServe", 400), row("LitServe", 600, 1), row("MLServer", 200), row("Mosec", 2000),
]  # fmt: skip


def test_rows_of_the_same_network_and_server_are_replaced(tmp_path: Path) -> None:
    add(tmp_path, ROWS)
    add(tmp_path, [row("LitServe", 300), row("LitServe", 100, network="other")])
    kept = load(tmp_path / "throughput.csv")
    assert {(r.network, r.throughput) for r in kept if r.server == "LitServe"} == {
        ("net", 300),
        ("other", 100),
    }
    assert len(kept) == len(ROWS)
    assert (tmp_path / "throughput.png").stat().st_size > 0


def test_a_ratio_is_of_medians() -> None:
    assert ratio(ROWS, DENSE, "LitServe", 1) == pytest.approx(1000 / 500)


def test_who_takes_json_is_compared_with_our_json(tmp_path: Path) -> None:
    add(tmp_path, ROWS)
    lines = (tmp_path / "throughput.md").read_text(encoding="utf-8").splitlines()
    ending = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[-3:] for line in lines if line.startswith("| ")
    }
    assert ending["LitServe"] == ["2.00", "2", "8.00 |"]
    assert ending["MLServer"] == ["3.00", "3", "20.00 |"]
    assert ending["Mosec"] == ["0.50", "0.9", "2.00 |"]
