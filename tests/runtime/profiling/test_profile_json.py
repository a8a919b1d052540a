from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.runtime.errors import ProfileError
from downshift.runtime.profiling import profile_json
from tests.runtime.doubles import profile

GOLDEN = """{
 "schema": 1,
 "artifact": "0000000000000000000000000000000000000000000000000000000000000000",
 "machine": {
  "cpu": "a processor",
  "cores": 2,
  "gpus": [],
  "threads": 1,
  "versions": {
   "fake": "1"
  }
 },
 "measurements": [
  {
   "subnet": "s50",
   "sparsity": 0.5,
   "accuracy": 0.9,
   "engine": "fake",
   "batch_size": 1,
   "p50": 0.01,
   "p95": 0.01,
   "p99": 0.01,
   "chosen": true
  }
 ]
}"""


def test_the_file_looks_like_this() -> None:
    assert profile_json.dumps(profile({"s50": 0.01}, batch_sizes=(1,))) == GOLDEN


def test_a_row_holds_what_the_command_line_prints() -> None:
    assert list(profile_json.rows(profile())[0]) == [
        "subnet",
        "sparsity",
        "accuracy",
        "engine",
        "batch_size",
        "p50",
        "p95",
        "p99",
        "chosen",
    ]


@given(
    st.lists(st.sampled_from(["s50", "s70", "s90"]), min_size=1, unique=True),
    st.sets(st.integers(2, 64)),
    st.floats(1e-7, 1e3),
    st.floats(1.0, 10.0),
)
def test_what_is_written_is_read_back(names: list[str], sizes: set[int], seconds: float, tail: float) -> None:
    before = profile(dict.fromkeys(names, seconds), batch_sizes=(1, *sorted(sizes)), tail=tail)
    assert profile_json.loads(profile_json.dumps(before)) == before


def changed(*path: str | int, to: Any) -> str:
    document = json.loads(GOLDEN)
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        GOLDEN[:-3],
        "[" * 100_000,
        changed("schema", to=2),
        changed("artifact", to=None),
        changed("artifact", to="two\nlines"),
        changed("artifact", to="\ud800"),
        changed("machine", to="here"),
        changed("machine", "cores", to=True),
        changed("machine", "threads", to=0),
        changed("machine", "versions", to={"fake": 1}),
        changed("measurements", to=[]),
        changed("measurements", 0, "p50", to=-1.0),
        changed("measurements", 0, "p50", to=0.02),
        changed("measurements", 0, "p99", to="fast"),
        changed("measurements", 0, "p99", to=float("nan")),
        changed("measurements", 0, "batch_size", to=2),
        changed("measurements", 0, "batch_size", to=1.0),
        changed("measurements", 0, "chosen", to=False),
        changed("measurements", 0, "chosen", to=1),
        changed("measurements", 0, "extra", to=1),
        changed("measurements", to=json.loads(GOLDEN)["measurements"] * 2),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ProfileError, match=r"measure again|this version reads"):
        profile_json.loads(text)


def test_a_missing_measurement_is_noticed() -> None:
    document = json.loads(profile_json.dumps(profile(batch_sizes=(1, 2))))
    del document["measurements"][1]
    with pytest.raises(ProfileError):
        profile_json.loads(json.dumps(document))


def test_an_engine_may_end_before_the_larger_sizes_but_not_leave_one_out() -> None:
    both = profile({"s50": 0.01}, batch_sizes=(1, 2, 4))
    slow = tuple(replace(m, engine="slow", chosen=False) for m in both.measurements)
    ends_early = replace(both, measurements=(*both.measurements, *slow[:2]))
    assert profile_json.loads(profile_json.dumps(ends_early)) == ends_early
    assert ends_early["s50"].engines == ("fake",) * 5
    for gap in (slow[::2], slow[1:]):
        with pytest.raises(ProfileError):
            profile_json.loads(profile_json.dumps(replace(both, measurements=(*both.measurements, *gap))))
