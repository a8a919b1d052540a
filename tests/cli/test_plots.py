from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from downshift.cli import plots as pareto
from downshift.runtime.errors import ProfileError
from tests.runtime.doubles import profile

if TYPE_CHECKING:
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n"


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    pareto.draw(tmp_path / "pareto", profile({"s50": 0.010, "s90": 0.020, "s98": 0.001}))
    assert (tmp_path / "pareto").read_bytes().startswith(PNG)


def test_without_measured_accuracies_there_is_nothing_to_draw(tmp_path: Path) -> None:
    measured = profile()
    unknown = replace(measured, measurements=tuple(replace(m, accuracy=None) for m in measured.measurements))
    with pytest.raises(ProfileError, match=r"no measured accuracy; train it, or leave --plot out"):
        pareto.draw(tmp_path / "pareto.png", unknown)
    assert not list(tmp_path.iterdir())
