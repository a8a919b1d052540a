from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from downshift.runtime.errors import ProfileError
from downshift.runtime.machine import this_machine
from downshift.runtime.profiling import profile_json
from downshift.runtime.simulator.profile_file import read
from tests.runtime.doubles import profile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "profile.json"


def test_what_the_profile_command_prints_is_read(file: Path) -> None:
    file.write_text(json.dumps([asdict(measurement) for measurement in profile().measurements]))
    assert read(file).measurements == profile().measurements


def test_a_cached_profile_of_this_machine_is_read(file: Path) -> None:
    here = replace(profile(), machine=this_machine(1, {"fake": "1"}))
    file.write_text(profile_json.dumps(here))
    assert read(file) == here


def test_a_profile_of_another_machine_is_refused_with_the_remedy(file: Path) -> None:
    file.write_text(profile_json.dumps(profile()))
    with pytest.raises(ProfileError, match=r"another machine \(cpu 'a processor'.*run `downshift profile`"):
        read(file)


@pytest.mark.parametrize("text", ["", "[]", "[1]", "{}", "[" * 100_000, '[{"subnet": "s50"}]'])
def test_anything_else_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ProfileError, match="not a profile"):
        read(file)
