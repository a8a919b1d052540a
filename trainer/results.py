"""The files that a finished run leaves: the artifact, the report on it, and the recipe that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import artifact
from models.atomic import write_atomically
from trainer import journal, recipe_toml
from trainer.export import export
from trainer.report import Findings, report_files

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.recipe import Recipe
    from trainer.run import Outcome
    from trainer.training_data import TrainingData

ARTIFACT = "model.onnx"
RECIPE = "recipe.toml"


def write_results(folder: Path, recipe: Recipe, data: TrainingData, outcome: Outcome) -> None:
    """Leave `model.onnx`, `report.html` with its pictures, and `recipe.toml`; each is whole or not there.

    `folder` holds the run's journal already.
    """
    exported = export(outcome.supernet, recipe, data.image, data.labels, outcome.validation)
    text = recipe_toml.dumps(recipe)
    findings = Findings(exported, outcome.test, journal.read(folder / journal.NAME), text)
    artifact.write(folder / ARTIFACT, exported)
    for name, content in (report_files(findings) | {RECIPE: text.encode()}).items():
        write_atomically(folder / name, content)
