"""The files that a finished run leaves: the artifact, the report on it, and the recipe that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from downshift.models import artifact
from downshift.models.atomic import write_atomically
from downshift.trainer import recipe_toml
from downshift.trainer.export import export
from downshift.trainer.report import journal
from downshift.trainer.report.page import Findings, report_files

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.trainer.data.training_data import TrainingData
    from downshift.trainer.recipe import Recipe
    from downshift.trainer.run import Outcome

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
