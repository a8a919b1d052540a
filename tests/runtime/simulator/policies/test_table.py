"""All policies, by what each is known for; and what every policy must respect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.models.errors import UnknownName
from downshift.runtime.scheduling.policy import LoadSnapshot, QueueView, Waiting
from downshift.runtime.simulator.policies.clipper import Clipper
from downshift.runtime.simulator.policies.model_switching import ModelSwitching
from downshift.runtime.simulator.policies.ramsis import Ramsis
from downshift.runtime.simulator.policies.slackfit import SlackFit
from downshift.runtime.simulator.policies.table import build, names
from tests.runtime.doubles import profile

if TYPE_CHECKING:
    from downshift.runtime.scheduling.policy import Decision, Policy

NAMES = ("s50", "s90", "s98")
IDLE = LoadSnapshot()
SLO = 0.1
PROFILE = profile(marginal=0.5)  # s50 10, 15, 25 ms for 1, 2, 4; s90 4, 6, 10 ms; s98 1, 1.5, 2.5 ms
POLICIES: dict[str, Policy] = {
    name: Ramsis.build(PROFILE, SLO, [20.0, 300.0]) if name == "ramsis" else build(name, PROFILE, SLO)
    for name in names(PROFILE)
}


def queue(slack: float, count: int = 1) -> QueueView:
    return QueueView(0.0, [Waiting(slack - SLO, slack, 1, NAMES)] * count, count)


def decide(name: str, slack: float, count: int = 1, rate: float = 0.0) -> tuple[str, int]:
    decision: Decision = POLICIES[name].decide(queue(slack, count), LoadSnapshot(arrival_rate=rate), PROFILE)
    return decision.subnet, decision.batch_size


@pytest.mark.parametrize(
    ("name", "slack", "count", "chosen"),
    [
        ("max-accuracy", 0.016, 4, ("s50", 2)),
        ("max-accuracy", 0.0005, 4, ("s98", 1)),
        ("max-batch", 0.016, 4, ("s90", 4)),
        ("max-batch", 0.026, 4, ("s50", 4)),
        ("max-batch", 0.0005, 4, ("s98", 1)),
        ("infaas", 0.016, 4, ("s90", 4)),
        ("infaas", 0.016, 1, ("s50", 1)),
        ("infaas", 0.0005, 4, ("s98", 4)),
        ("slackfit", 0.025, 4, ("s50", 4)),
        ("slackfit", 0.0255, 1, ("s50", 1)),
        ("slackfit", 0.0109, 4, ("s90", 4)),
        ("slackfit", 0.0005, 4, ("s98", 1)),
        ("fixed:s90", 0.05, 4, ("s90", 4)),
        ("clipper:s90", 0.05, 4, ("s90", 1)),
        ("downshift", 0.05, 1, ("s50", 1)),
    ],
)
def test_every_policy_decides_as_it_is_described(
    name: str, slack: float, count: int, chosen: tuple[str, int]
) -> None:
    assert decide(name, slack, count) == chosen


def test_slackfit_keeps_the_largest_batch_of_each_bucket_and_the_more_accurate_of_equals() -> None:
    coarse = SlackFit.build(PROFILE, buckets=2)
    assert [(batch.subnet, batch.size) for batch in coarse.batches] == [("s90", 4), ("s50", 4)]
    assert coarse.slowest == (0.010, 0.025)


@pytest.mark.parametrize(("rate", "subnet"), [(0.0, "s50"), (160.0, "s90"), (1600.0, "s98"), (9e9, "s98")])
def test_model_switching_follows_the_rate(rate: float, subnet: str) -> None:
    assert decide("model-switching", 0.05, 4, rate) == (subnet, 4)


def test_model_switching_wants_batches_within_half_the_slo() -> None:
    tight = ModelSwitching.build(PROFILE, 0.032)
    assert [(batch.subnet, batch.size) for batch in tight.batches] == [("s50", 2), ("s90", 4), ("s98", 4)]


def test_clipper_grows_by_one_and_shrinks_by_a_tenth() -> None:
    clipper = Clipper("s90", slo=0.01, most=4)
    grown = clipper.after("s90", 1, 0.004).after("s90", 2, 0.006)
    assert grown.limit == 3.0
    assert grown.after("s90", 2, 0.006) == grown, "a batch that was not full proves nothing"
    assert grown.after("s90", 3, 0.02).limit == pytest.approx(2.7)
    assert grown.after("s50", 3, 0.02) == grown, "another's pinned sub-net"
    assert Clipper("s90", 0.01, 4, limit=4.0).after("s90", 4, 0.001).limit == 4.0
    assert clipper.after("s90", 1, 0.02).limit == 1.0


def test_ramsis_spends_the_slack_when_few_come_and_saves_it_when_many_do() -> None:
    assert decide("ramsis", SLO, 1, rate=20.0) == ("s50", 1)
    calm, rushed = decide("ramsis", SLO / 2, 30, rate=20.0), decide("ramsis", SLO / 2, 30, rate=300.0)
    assert NAMES.index(rushed[0]) >= NAMES.index(calm[0])
    assert rushed[1] == 4
    assert decide("ramsis", 0.0001, 4, rate=20.0) == ("s98", 1)


def test_an_unknown_policy_is_named_beside_those_there_are() -> None:
    with pytest.raises(UnknownName, match=r"unknown policy 'fixed:s51'.*downshift, slackfit"):
        build("fixed:s51", PROFILE, SLO)


requests = st.builds(
    Waiting,
    st.just(-0.05),
    st.floats(-0.01, 0.2),
    st.integers(1, 6),
    st.sampled_from([NAMES, ("s50",), ("s50", "s90")]),
)


@given(st.lists(requests, min_size=1, max_size=9), st.sampled_from(sorted(POLICIES)), st.floats(0.0, 3000.0))
def test_every_policy_serves_the_head_with_a_sub_net_it_admits(
    waiting: list[Waiting], name: str, rate: float
) -> None:
    waiting.sort(key=lambda request: request.deadline)
    examples = sum(request.examples for request in waiting)
    load = LoadSnapshot(arrival_rate=rate)
    decision = POLICIES[name].decide(QueueView(0.0, waiting, examples), load, PROFILE)
    assert decision.subnet in waiting[0].candidates
    assert waiting[0].examples <= decision.batch_size <= max(examples, waiting[0].examples)
