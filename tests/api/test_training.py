"""Training from Python: what it refuses before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import downshift
from downshift.trainer.errors import DataError, RecipeError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epochs": 3}, r"epochs=3: give a section's values, such as run=\{'epochs': 3\}"),
        ({"run": {"epoch": 3}}, "unknown recipe key 'run.epoch': did you mean 'epochs'"),
        ({"run": {"epochs": "many"}}, "run.epochs = 'many': a whole number is needed"),
        ({"step": {"kind": "both"}}, "step.kind = 'both': choose one of alternating, batch-split, joint"),
        ({"subnets": {"sparsities": (0.9, 0.5)}}, r"subnets.sparsities \[0.9, 0.5\]: each once"),
    ],
)
def test_an_override_that_cannot_be_names_its_key(
    overrides: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        downshift.train("digits", out=tmp_path / "run", **overrides)
    assert not list(tmp_path.iterdir())


def test_an_unknown_recipe_and_a_missing_data_set_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="unknown recipe 'nonsense': choose one of"):
        downshift.train("nonsense", out=tmp_path / "run")
    with pytest.raises(DataError, match=str(tmp_path / "absent")):
        downshift.train("cifar10-resnet20", out=tmp_path / "run", data_dir=tmp_path / "absent")
