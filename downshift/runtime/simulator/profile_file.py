"""Reads the profile for a simulation from a file written by `downshift profile`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from downshift.runtime.errors import ProfileError
from downshift.runtime.machine import Machine, this_machine
from downshift.runtime.profiling import profile_json
from downshift.runtime.profiling.profile_cache import check_belongs

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.runtime.profiling.profile import Profile

UNKNOWN = Machine(cpu="unknown", cores=1, gpus=(), threads=1, versions={})


def read(path: Path) -> Profile:
    """The profile in a file: the output of `downshift profile --json`, or a file of the profile cache.

    Raises `ProfileError` for any other content and for a cached profile of another machine, `OSError` when
    the file cannot be read. The `--json` output names no machine, so it is accepted anywhere.
    """
    try:
        return _read(path)
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from error


def _read(path: Path) -> Profile:
    text = path.read_bytes()
    rows = _rows(text)
    if rows is not None:
        document = {
            "schema": profile_json.SCHEMA,
            "artifact": str(path),
            "machine": asdict(UNKNOWN),
            "measurements": rows,
        }
        return profile_json.loads(json.dumps(document))
    profile = profile_json.loads(text)
    machine = profile.machine
    check_belongs(profile, profile.artifact, this_machine(machine.threads, machine.versions))
    return profile


def _rows(text: bytes) -> list[object] | None:
    """The list of measurements of a `--json` output; None for any other content."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return rows if isinstance(rows, list) else None
