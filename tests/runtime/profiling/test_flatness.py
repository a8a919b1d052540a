from __future__ import annotations

from downshift.runtime.profiling.flatness import flat
from tests.runtime.doubles import profile


def test_sub_nets_that_all_take_as_long_are_flat_and_the_remedy_is_said() -> None:
    said = flat(profile({"s50": 0.0105, "s90": 0.010, "s98": 0.0102}))
    assert said is not None
    assert said.startswith("sub-nets do not differ in latency on fake (by 5% at most)")
    assert "train channel sub-nets" in said


def test_one_faster_sub_net_at_one_batch_size_is_enough() -> None:
    assert flat(profile({"s50": 0.010, "s90": 0.008})) is None


def test_a_sub_net_alone_is_not_flat() -> None:
    assert flat(profile({"s50": 0.010})) is None
