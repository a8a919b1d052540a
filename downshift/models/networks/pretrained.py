"""Weights of a trained network, read from a file into a fresh one of the same kind."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from downshift.errors import first_line, kind_and_first_line
from downshift.models.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NESTED = ("state_dict", "model", "model_state_dict", "state_dict_ema")
"""Where training programs put a network's weights beside their own state."""
PREFIXES = ("module.", "_orig_mod.", "model.", "network.")
"""What data-parallel training, compilation and wrappers put before every name."""
SHOWN = 3  # names listed of each kind


def initialise(network: nn.Module, path: Path) -> None:
    """Copy the weights in `path`, .pt or .safetensors, into `network`, in place.

    Names must be the network's, after a prefix that all share is taken away. The classifier, its last linear
    layer, keeps its fresh weights where the file's have another number of classes. Nothing is unpickled but
    tensors. Raises `SpecError` with one sentence that names what does not fit.
    """
    found = _without_prefix(_tensors(path))
    wanted = network.state_dict()
    classifier = next((n for n, m in reversed(list(network.named_modules())) if isinstance(m, nn.Linear)), "")
    shapes = [
        name for name in wanted.keys() & found.keys() if tuple(wanted[name].shape) != tuple(found[name].shape)
    ]
    if any(name.rpartition(".")[0] == classifier for name in shapes):
        found = {name: tensor for name, tensor in found.items() if name.rpartition(".")[0] != classifier}
        wanted = {name: tensor for name, tensor in wanted.items() if name.rpartition(".")[0] != classifier}
        shapes = [name for name in shapes if name in wanted]
    shared = wanted.keys() & found.keys() - set(shapes)
    missing = [name for name in wanted.keys() - found.keys() if not name.endswith(".num_batches_tracked")]
    problems = [
        f"{len(names)} {what} ({_some(names)})"
        for names, what in (
            (missing, "of its weights are missing"),
            (found.keys() - wanted.keys(), "are unknown to it"),
            (
                [f"{n} {list(found[n].shape)} for {list(wanted[n].shape)}" for n in shapes],
                "have another shape",
            ),
            (
                [n for n in shared if not _is_dense(found[n], wanted[n])],
                "are no dense floating-point numbers",
            ),
            ([n for n in shared if not _is_finite(found[n])], "hold NaN or infinity"),
        )
        if names
    ]
    if problems:
        raise SpecError(f"{path} does not fit the network {type(network).__name__}: {', '.join(problems)}")
    network.load_state_dict(found, strict=False)


def _tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in the file."""
    if not path.is_file():
        raise SpecError(f"{path}: no such file of weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        values: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise whatever the bytes provoke
        raise SpecError(
            f"{path} holds no weights that can be read safely ({_reason(error)}): save network.state_dict()"
        ) from error
    for key in NESTED:
        if isinstance(values, dict) and isinstance(values.get(key), dict):
            values = values[key]
    if not isinstance(values, dict) or not all(
        isinstance(name, str) and isinstance(each, Tensor) for name, each in values.items()
    ):
        raise SpecError(f"{path} holds no state dict: save network.state_dict()")
    return values


def _reason(error: Exception) -> str:
    """Why a file cannot be read; torch's own words on pickles recommend what is not safe."""
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
        return "it holds pickled Python objects or code, not tensors alone"
    if isinstance(error, RuntimeError):
        return first_line(error).partition(". ")[0]
    return kind_and_first_line(error)


def _is_dense(tensor: Tensor, like: Tensor) -> bool:
    """Whether the values of `tensor` are there, one by one, and can stand for those of `like`."""
    plain = tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized)
    return plain and (tensor.is_floating_point() or not like.is_floating_point())


def _is_finite(tensor: Tensor) -> bool:
    dense = _is_dense(tensor, tensor) and tensor.is_floating_point()
    return not dense or bool(tensor.float().isfinite().all())


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return _without_prefix({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:SHOWN]) + (", …" if len(listed) > SHOWN else "")
