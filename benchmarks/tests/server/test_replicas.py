"""The small edition of the replicas' run: real proxies, real faults, nothing lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.harness.client import Record
from benchmarks.harness.proxies import PROXIES, envoy_program, haproxy_program
from benchmarks.harness.settings import prepare
from benchmarks.server.replicas import FAULTS, ONE, WORKERS, fronts, row_of, strike, wait_until_all_serve
from downshift.models.artifact import write
from downshift.runtime.machine import usable_cores
from tests.models.tiny_artifact import tiny_artifact

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.harness.settings import Setting

PROGRAMS = {"Envoy": envoy_program, "HAProxy": haproxy_program}
RATE, SECONDS, BUDGET = 30.0, 4.0, 25.0


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    write(tmp_path / "tiny.onnx", tiny_artifact())
    return prepare(str(tmp_path / "tiny.onnx"), tmp_path / "cache")


@pytest.mark.parametrize("front", PROXIES)
def test_no_fault_of_a_replica_loses_a_request(front: str, setting: Setting, tmp_path: Path) -> None:
    if PROGRAMS[front]() is None:
        pytest.skip(f"{front} is not installed")
    with fronts(setting, front, tmp_path) as (replicas, port):
        for fault in ("hot swap", "SIGSTOP 1 s", "kill -9", "SIGTERM"):
            wait_until_all_serve(setting, replicas, port)
            row = strike(setting, replicas, port, front, fault, rate=RATE, seconds=SECONDS, budget=BUDGET)
            assert (row.fault, row.requests, row.lost) == (fault, int(RATE * SECONDS), 0)
            assert replicas.revive() is (fault in ("kill -9", "SIGTERM"))


@pytest.mark.skipif(usable_cores() < 2, reason="two workers need two cores")
def test_of_two_workers_one_is_struck_and_both_serve_again(setting: Setting, tmp_path: Path) -> None:
    with fronts(setting, WORKERS, tmp_path) as (group, port):
        for fault in ("hot swap", "SIGSTOP 1 s", "SIGTERM", "kill -9"):
            wait_until_all_serve(setting, group, port)
            struck = group.struck
            row = strike(setting, group, port, WORKERS, fault, rate=RATE, seconds=SECONDS, budget=BUDGET)
            assert (row.fault, row.requests) == (fault, int(RATE * SECONDS))
            assert row.lost < row.requests / 2
            assert (group.struck == struck) is (fault in ("hot swap", "SIGSTOP 1 s"))


def test_without_a_proxy_a_killed_server_loses_requests(setting: Setting, tmp_path: Path) -> None:
    refused = pytest.raises(OSError, match="refused")  # nobody listens any more
    with fronts(setting, ONE, tmp_path) as (replicas, port), refused:
        strike(setting, replicas, port, ONE, "kill -9", rate=RATE, seconds=SECONDS, budget=BUDGET)


def test_every_request_is_counted_as_what_became_of_it() -> None:
    record = Record.unanswered(np.zeros(6))
    record.status[:] = (200, 200, 503, 0, 429, 504)
    record.ended[:] = (0.5, 3.0, 0.1, np.inf, 0.1, 2.0)
    row = row_of(record, "a front", "a fault", 1.0, 2.0)
    assert (row.requests, row.lost, row.late, row.shed) == (6, 2, 2, 1)
    assert row.p50 == pytest.approx(1.75)


def test_every_fault_is_one_of_the_options() -> None:
    assert {"kill -9", "SIGTERM", "hot swap", "SIGSTOP 1 s"} <= set(FAULTS)
