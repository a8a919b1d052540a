"""Training from Python: a recipe in, an artifact out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from downshift.api.quantization import quantize_trained
from downshift.trainer import recipe_toml as recipes
from downshift.trainer.errors import RecipeError
from downshift.trainer.report.results import ARTIFACT
from downshift.trainer.train import train as run

if TYPE_CHECKING:
    from downshift.trainer.progress import Reporter


def train(  # noqa: PLR0913 - by keyword
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    data_dir: str | Path = "data",
    resume: bool = False,
    device: str = "auto",
    report: Reporter | None = None,
    **overrides: Mapping[str, Any],
) -> Path:
    """Train a supernet and return the path of its artifact, model.onnx; a report lies beside it.

        artifact = downshift.train("digits", out="runs/small", run={"epochs": 8}, network={"width": 0.25})
        model = downshift.load(artifact)

    recipe: name of a bundled recipe, or a .toml file. out: folder for the run; by default runs/RECIPE.
    data_dir: folder with the data sets; a missing one is downloaded into it. resume: continue the run in
    `out`. device: auto, cpu, cuda, ... report: receives progress. overrides: the recipe's values by section.

    Raises `RecipeError` naming the key, `DataError`, `CheckpointError`. Needs the extra: downshift[train].
    """
    chosen = recipes.load(str(recipe), _settings(overrides))
    folder = Path("runs") / Path(recipe).stem if out is None else Path(out)
    run(chosen, folder, data_dir=Path(data_dir), resume=resume, device=device, report=report)
    if chosen.run.quantize and leads():
        quantize_trained(folder / ARTIFACT, chosen, Path(data_dir))
    return folder / ARTIFACT


def leads() -> bool:
    """Whether this process is the only one of its training, or the first of torchrun's."""
    return os.environ.get("RANK", "0") == "0"


def _settings(overrides: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """`section.key=value`, values in TOML, which JSON's numbers, texts, booleans and lists are."""
    for section, values in overrides.items():
        if not isinstance(values, Mapping):
            raise RecipeError(f"{section}={values!r}: give a section's values, such as run={{'epochs': 3}}")
    return [
        f"{section}.{key}={json.dumps(value, default=str)}"
        for section, values in overrides.items()
        for key, value in values.items()
    ]
