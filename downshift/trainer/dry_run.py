"""The export of the untouched network: what would fail at the end of a run fails before its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from downshift.errors import kind_and_first_line
from downshift.models.errors import ArtifactError, SpecError
from downshift.models.pattern import Unstructured
from downshift.trainer.errors import ExportError
from downshift.trainer.export import export

if TYPE_CHECKING:
    from downshift.models.spec import InputSpec
    from downshift.models.supernet import Supernet
    from downshift.trainer.recipe import Recipe


def dry_run_export(supernet: Supernet, recipe: Recipe, image: InputSpec, labels: tuple[str, ...]) -> None:
    """Export the network as it is, and forget the result; torch's random numbers are left alone.

    Raises `ExportError` for a network that ONNX cannot express, and for a class name, sub-net name or input
    that an artifact cannot hold.
    """
    unknown = dict.fromkeys(recipe.names, 0.0)
    dense = (Unstructured(),) * len(recipe.names)  # before the first step no mask obeys another pattern
    try:
        with torch.random.fork_rng(devices=[]):
            export(supernet, recipe, image, labels, unknown, patterns=dense)
    except (ArtifactError, ExportError, SpecError) as error:
        raise ExportError(f"nothing was trained, as the result could not be written: {error}") from error
    except Exception as error:  # the exporter raises what it likes
        raise ExportError(
            f"nothing was trained, as network {recipe.network.name} cannot be written as ONNX "
            f"({_root(error)}): choose another network, or one without control flow on tensors"
        ) from error


def _root(error: BaseException) -> str:
    """What the exporter failed of: kind and first line of the error at the end of the chain of causes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return kind_and_first_line(error)
