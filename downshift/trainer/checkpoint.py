"""Checkpoints: one safetensors file with everything a run needs to go on bit-exactly; nothing is pickled."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from downshift.models.atomic import write_atomically
from downshift.trainer.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

FORMAT = 2


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` optimizer steps: tensors by name, and JSON-able facts."""

    step: int
    recipe: dict[str, Any]
    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name begins with `prefix` and a slash, without it."""
        return {
            name.removeprefix(f"{prefix}/"): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(f"{prefix}/")
        }


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint under a temporary name and rename it; a kill leaves the old one whole."""
    header = {
        "format": FORMAT,
        "step": checkpoint.step,
        "recipe": checkpoint.recipe,
        "facts": checkpoint.facts,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    write_atomically(path, serialise(tensors, metadata={"downshift": json.dumps(header)}))


def load(path: Path) -> Checkpoint:
    """The checkpoint in `path`; raises `CheckpointError` when it is missing, damaged or of another format."""
    if not path.is_file():
        raise CheckpointError(f"checkpoint {os.fspath(path)}: no such file; start the run without --resume")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["downshift"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if header["format"] != FORMAT:
            raise CheckpointError(
                f"checkpoint {os.fspath(path)}: format {header['format']}, this version reads {FORMAT}"
            )
        return Checkpoint(header["step"], header["recipe"], tensors, header["facts"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {os.fspath(path)} is damaged ({error}); delete it and start the run again"
        ) from error
