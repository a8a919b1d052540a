"""All policies by name, as `downshift simulate --policy` takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from downshift.models.errors import UnknownName
from downshift.runtime.scheduling.budget import BudgetPolicy
from downshift.runtime.scheduling.fixed import FixedPolicy
from downshift.runtime.simulator.policies.clipper import Clipper
from downshift.runtime.simulator.policies.greedy import MaxAccuracy, MaxBatch
from downshift.runtime.simulator.policies.infaas import Infaas
from downshift.runtime.simulator.policies.model_switching import ModelSwitching
from downshift.runtime.simulator.policies.proteus import Proteus
from downshift.runtime.simulator.policies.ramsis import Ramsis
from downshift.runtime.simulator.policies.slackfit import SlackFit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import Policy

BUILDERS: Mapping[str, Callable[[Profile, float], Policy]] = {
    "downshift": lambda _profile, _slo: BudgetPolicy(margin=0.0),
    "slackfit": lambda profile, _slo: SlackFit.build(profile),
    "ramsis": Ramsis.build,
    "infaas": lambda _profile, _slo: Infaas(),
    "model-switching": ModelSwitching.build,
    "proteus": lambda profile, slo: Proteus(ModelSwitching.build(profile, slo)),
    "downshift-waiting": lambda _profile, _slo: Proteus(BudgetPolicy(margin=0.0)),
    "max-accuracy": lambda _profile, _slo: MaxAccuracy(),
    "max-batch": lambda _profile, _slo: MaxBatch(),
}
"""Policies built from a profile and an SLO in seconds; no delivery margin, as nothing is delivered."""

PER_SUBNET: Mapping[str, Callable[[Profile, float, str], Policy]] = {
    "fixed": lambda _profile, _slo, subnet: FixedPolicy(subnet),
    "clipper": lambda profile, slo, subnet: Clipper(subnet, slo, profile.batch_sizes[-1]),
}
"""Policies with one fixed sub-net, named as in `fixed:s90`."""


def names(profile: Profile) -> tuple[str, ...]:
    """Names of all policies for the sub-nets of a profile, ours first."""
    return (*BUILDERS, *(f"{kind}:{subnet}" for kind in PER_SUBNET for subnet in profile.names))


def check(name: str, profile: Profile) -> None:
    """Raise `UnknownName` unless a policy of that name exists for the profile's sub-nets."""
    if name not in names(profile):
        raise UnknownName("policy", name, names(profile))


def build(name: str, profile: Profile, slo: float) -> Policy:
    """The named policy, for an SLO in seconds; raises `UnknownName`."""
    check(name, profile)
    if name in BUILDERS:
        return BUILDERS[name](profile, slo)
    kind, _, subnet = name.partition(":")
    return PER_SUBNET[kind](profile, slo, subnet)
