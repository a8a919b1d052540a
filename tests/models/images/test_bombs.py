"""Small files that hold or claim far more than they should cost bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.models.images.bombs import BOMBS

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY = 32 * 2**20
HARMLESS = {"png profile", "png text", "png international text"}  # metadata, which nobody inflates


@pytest.fixture(scope="module")
def costs() -> Mapping[str, tuple[str, int, int]]:
    """What reading every bomb answered, its size, and the memory it took, in a process of its own."""
    program = [sys.executable, "-m", "tests.models.images.bombs"]
    costs: dict[str, tuple[str, int, int]] = json.loads(subprocess.check_output(program))
    return costs


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts in other units elsewhere")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_bounded_memory(name: str, costs: Mapping[str, tuple[str, int, int]]) -> None:
    answer, _, memory = costs[name]
    assert answer in ({"read"} if name in HARMLESS else {"ImageTooLarge", "BrokenImage"})
    assert memory < MEMORY
