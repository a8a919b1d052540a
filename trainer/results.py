"""The files that a finished run leaves: the artifact and the recipe that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import artifact
from models.atomic import write_atomically
from trainer import recipe_toml
from trainer.export import export

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.recipe import Recipe
    from trainer.run import Outcome
    from trainer.training_data import TrainingData

ARTIFACT = "model.onnx"
RECIPE = "recipe.toml"


def write_results(folder: Path, recipe: Recipe, data: TrainingData, outcome: Outcome) -> None:
    """Leave `model.onnx` and `recipe.toml` in `folder`; each is whole or not there."""
    exported = export(outcome.supernet, recipe, data.image, data.labels, outcome.validation)
    artifact.write(folder / ARTIFACT, exported)
    write_atomically(folder / RECIPE, recipe_toml.dumps(recipe).encode())
