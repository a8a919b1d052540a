"""Rows of the server comparison: replaced server by server, medians over rounds, ratios on the same wire."""

from __future__ import annotations

import pytest

from benchmarks.server.throughput import DENSE, JSON, SPARSE, Row, draw, page, ratio


def row(server: str, throughput: float, turn: int = 0, concurrency: int = 1, network: str = "net") -> Row:
    return Row(
        network, server, "1.0", concurrency, turn, throughput, 1e-3, 2e-3, 0, 100, 1.0, 0.1, 0.0, 0.5, ""
    )


ROWS = [
    row(DENSE, 900), row(DENSE, 1100, 1), row(JSON, 600), row(SPARSE, 4000),
    row("LitServe", 400), row("LitServe", 600, 1), row("MLServer", 200), row("Mosec", 2000),
]  # fmt: skip


def test_the_picture_has_a_panel_for_each_network() -> None:
    assert len(draw([*ROWS, row("LitServe", 100, network="other")]).axes) == 2


def test_a_ratio_is_of_medians() -> None:
    assert ratio(ROWS, DENSE, "LitServe", 1) == pytest.approx(1000 / 500)


def test_who_takes_json_is_compared_with_our_json() -> None:
    ending = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[-3:]
        for line in page(ROWS)
        if line.startswith("| ")
    }
    assert ending["LitServe"] == ["2.00", "2", "8.00 |"]
    assert ending["MLServer"] == ["3.00", "3", "20.00 |"]
    assert ending["Mosec"] == ["0.50", "0.9", "2.00 |"]
