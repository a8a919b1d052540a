"""Profiles kept on disk: one file per artifact and machine, so that serving starts without measuring."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from downshift.models.atomic import write_atomically
from downshift.runtime.errors import ProfileError
from downshift.runtime.profiling import profile_json

if TYPE_CHECKING:
    from downshift.runtime.machine import Machine
    from downshift.runtime.profiling.profile import Profile

log = logging.getLogger(__name__)


def default_folder() -> Path:
    """$DOWNSHIFT_CACHE_DIR, else $XDG_CACHE_HOME/downshift, else ~/.cache/downshift."""
    if chosen := os.environ.get("DOWNSHIFT_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "downshift"


class ProfileCache:
    """The profiles in one folder. It never fails its user: what cannot be read is measured again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, artifact: str, machine: Machine) -> Path:
        """Where the profile of the artifact with that SHA-256 on that machine is kept."""
        key = json.dumps([artifact, asdict(machine)], sort_keys=True).encode()
        return self.folder / f"profile-{hashlib.sha256(key).hexdigest()[:32]}.json"

    def load(self, artifact: str, machine: Machine) -> Profile | None:
        """The stored profile, or None when there is none that is whole; its batch sizes are as they are."""
        path = self.path(artifact, machine)
        try:
            profile = profile_json.loads(path.read_bytes())
            check_belongs(profile, artifact, machine)
        except FileNotFoundError:
            return None
        except (OSError, ProfileError) as error:
            log.warning("cached profile %s is ignored and measured again: %s", path, error)
            return None
        return profile

    def store(self, profile: Profile) -> None:
        """Keep the profile; when the disk refuses, say so in the log and carry on."""
        path = self.path(profile.artifact, profile.machine)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, profile_json.dumps(profile).encode())
        except OSError as error:
            log.warning("profile not cached, so the next start measures again: %s: %s", path, error.strerror)


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
