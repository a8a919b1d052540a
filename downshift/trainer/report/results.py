"""Writes the output files of a finished run: artifact, report, resolved recipe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from downshift.models import artifact
from downshift.models.atomic import write_atomically
from downshift.trainer import recipe_toml
from downshift.trainer.export import export
from downshift.trainer.report import journal
from downshift.trainer.report.page import Findings, report_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from downshift.trainer.data.training_data import TrainingData
    from downshift.trainer.recipe import Recipe
    from downshift.trainer.run import TrainingResult

ARTIFACT = "model.onnx"
RECIPE = "recipe.toml"


def write_results(folder: Path, recipe: Recipe, data: TrainingData, outcome: TrainingResult) -> None:
    """Write `model.onnx`, `report.html` with its plots, and `recipe.toml`, each atomically.

    `folder` already holds the run's journal.
    """
    exported = export(
        outcome.supernet, recipe, data.image, data.labels, outcome.validation, images=data.validation_images
    )
    records = journal.read(folder / journal.NAME)
    text = _changes(records) + recipe_toml.dumps(recipe)
    findings = Findings(exported, outcome.test, records, text)
    artifact.write(folder / ARTIFACT, exported)
    for name, content in (report_files(findings) | {RECIPE: text.encode()}).items():
        write_atomically(folder / name, content)


def _changes(records: Sequence[Mapping[str, Any]]) -> str:
    """TOML comments for recipe values that changed on resuming: the step, the key and the new value."""
    return "".join(
        f"# resumed at step {record['step']} with {key} = {json.dumps(value)}\n"
        for record in records
        for key, value in record.get("resumed", {}).items()
    )
