"""NVIDIA's perf_analyzer, unmodified: it wants metadata, configuration, statistics and numeric versions."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

from tests.server.clients.served import MODEL, client, run

if TYPE_CHECKING:
    from pathlib import Path


def measure(address: str, table: Path, *options: str, protocol: str = "http") -> list[dict[str, str]]:
    """The rows of the table that it exports."""
    program = client("perf_analyzer", "perf_analyzer")
    run(
        *(
            program,
            "-m",
            MODEL,
            "-u",
            address,
            "-i",
            protocol,
            "-f",
            table,
            "-H",
            "x-latency-budget-ms: 2500",
        ),
        *("--stability-percentage", "999", "--max-trials", "3", "--warmup-request-count", "5", *options),
        LD_LIBRARY_PATH=str(program.parent / "lib"),
    )
    with table.open() as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("tensors", ["binary", "json"])
def test_it_measures_and_accounts_for_the_server_s_time(address: str, tmp_path: Path, tensors: str) -> None:
    rows = measure(
        *(address, tmp_path / "table.csv", "--concurrency-range", "1:2:1"),
        *("--measurement-mode", "count_windows", "--measurement-request-count", "30"),
        *("--input-tensor-format", tensors, "--output-tensor-format", tensors),
    )
    assert {row["Concurrency"] for row in rows} == {"1", "2"}  # the table is in order of throughput
    for row in rows:
        assert float(row["Inferences/Second"]) > 0
        assert float(row["Server Compute Infer"]) > 0


def test_it_replays_a_trace_in_batches(address: str, tmp_path: Path) -> None:
    trace = tmp_path / "intervals.txt"
    trace.write_text("10000\n5000\n20000\n")  # microseconds
    [row] = measure(
        *(address, tmp_path / "table.csv", "--request-intervals", str(trace), "-b", "2"),
        *("--measurement-interval", "300"),
    )
    assert float(row["Inferences/Second"]) > 0


@pytest.mark.parametrize("options", [(), ("--streaming", "-a")], ids=["calls", "stream"])
def test_it_measures_over_grpc(grpc_address: str, tmp_path: Path, options: tuple[str, ...]) -> None:
    rows = measure(
        *(grpc_address, tmp_path / "table.csv", "--concurrency-range", "1:2:1", *options),
        *("--measurement-mode", "count_windows", "--measurement-request-count", "30"),
        protocol="grpc",
    )
    assert {row["Concurrency"] for row in rows} == {"1", "2"}
    for row in rows:
        assert float(row["Inferences/Second"]) > 0
        assert float(row["Server Compute Infer"]) > 0
