"""Profiles cached on disk: one file per artifact and machine, so that serving starts without measuring."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from downshift.runtime.errors import ProfileError
from downshift.runtime.profiling import profile_json

if TYPE_CHECKING:
    from downshift.runtime.json_cache import JsonCache
    from downshift.runtime.machine import Machine
    from downshift.runtime.profiling.profile import Profile

KIND = "profile"


@dataclass(frozen=True)
class ProfileCache:
    """The profiles in a cache."""

    cache: JsonCache

    def load(self, artifact: str, machine: Machine) -> Profile | None:
        """The profile of the artifact with that SHA-256 on that machine, of whatever batch sizes, or None."""

        def parse(document: Any) -> Profile:
            profile = profile_json.parse(document)
            check_belongs(profile, artifact, machine)
            return profile

        return self.cache.load(KIND, key(artifact, machine), parse)

    def store(self, profile: Profile) -> None:
        """Keep the profile, where anything can be kept."""
        self.cache.store(KIND, key(profile.artifact, profile.machine), profile_json.document(profile))


def key(artifact: str, machine: Machine) -> list[Any]:
    """What a profile depends on."""
    return [artifact, asdict(machine)]


def check_belongs(profile: Profile, artifact: str, machine: Machine) -> None:
    """Raise `ProfileError` unless the profile was measured on this artifact, machine and set of engines."""
    if profile.artifact != artifact:
        raise ProfileError(
            f"profile of artifact {profile.artifact[:12]}… does not belong to {artifact[:12]}…; "
            "run `downshift profile` on this model"
        )
    if profile.machine != machine:
        raise ProfileError(
            f"profile measured on another machine ({_difference(profile.machine, machine)}); "
            "run `downshift profile` on this one"
        )


def _difference(theirs: Machine, ours: Machine) -> str:
    before, now = asdict(theirs), asdict(ours)
    changed = [name for name in now if before[name] != now[name]]
    return ", ".join(f"{name} {before[name]!r}, here {now[name]!r}" for name in changed)
