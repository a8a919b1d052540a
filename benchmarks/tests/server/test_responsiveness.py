"""What is made of a record of an overloaded server: latencies by outcome, and who had no answer."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness.client import Record
from benchmarks.server.responsiveness import figures, quantiles


def test_outcomes_are_told_apart() -> None:
    record = Record.unanswered(np.array([0.5, 1.0, 1.5, 2.0]))
    record.ended[:3] = [0.6, 1.004, 1.7]
    record.status[:3] = [200, 429, 504]
    record.inside[1] = 0.00125
    found = figures(record)
    assert found["statuses"] == {"200": 1, "429": 1, "504": 1}
    assert (found["rate"], found["seconds"], found["goodput"], found["broken"]) == (2.0, 2.0, 0.5, 1)
    assert found["answered"]["p50_ms"] == pytest.approx(100.0)
    assert (found["rejected"]["count"], found["rejected"]["max_ms"]) == (2, pytest.approx(200.0))
    assert found["rejected_at_once"]["p50_ms"] == pytest.approx(4.0)
    assert found["rejected_at_once_inside"] == {"count": 1, "p50_ms": 1.25, "p99_ms": 1.25, "max_ms": 1.25}


def test_no_answers_have_no_quantiles() -> None:
    assert quantiles([]) == {"count": 0}
    assert quantiles([np.inf, np.nan]) == {"count": 0}
