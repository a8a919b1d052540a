"""A recipe with run.quantize leaves sub-nets with int8, also when a finished run resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import downshift
from downshift.models.artifact import read

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.models.artifact import Artifact

SMALL = {"epochs": 3, "batch_size": 256, "recalibrate": 2, "evaluate_every": 3}


def trained(out: Path, *, quantize: bool, resume: bool = False) -> Artifact:
    run = SMALL | {"quantize": quantize}
    sections = {
        "masks": {"interval": 2, "offset": 0},
        "network": {"width": 0.125},
        "subnets": {"sparsities": [0.5, 0.9]},
    }
    return read(downshift.train("digits", out=out, resume=resume, run=run, **sections))


def test_training_ends_with_int8_where_the_recipe_says_so_and_never_else(tmp_path: Path) -> None:
    plain = trained(tmp_path / "run", quantize=False)
    assert all(subnet.int8 is None for subnet in plain.manifest.subnets)
    quantized = trained(tmp_path / "run", quantize=True, resume=True)
    for before, after in zip(plain.manifest.subnets, quantized.manifest.subnets, strict=True):
        assert after.accuracy == before.accuracy
        assert after.int8 is not None
        assert after.int8.accuracy is not None
        assert abs(after.int8.accuracy - (after.accuracy or 0)) < 0.2
    assert quantized.manifest.provenance.recipe["run"]["quantize"]
