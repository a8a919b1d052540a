"""The tensors that ride beside the densest sub-net: masks, the other sub-nets' weights and BatchNorm.

Each `encode_*` has a `decode_*` that restores what went in and trusts nothing: `ArtifactError` names the
tensor that has another type or shape, or holds a value that no encoder writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from downshift.models.errors import ArtifactError, SpecError
from downshift.models.packing import bits_for, pack, packed_size, unpack
from downshift.models.shared_weight import Bitmaps, Levels, SharedWeight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from downshift.models.plain_onnx import Array
    from downshift.models.spec import LayerSpec, Manifest, MaskEncoding, NormSpec

Scalar = TypeVar("Scalar", bound=np.generic)


def tensor_names(manifest: Manifest) -> set[str]:
    """Names of exactly the tensors that an artifact with this manifest carries."""
    kinds = ("levels",) if manifest.masks == "levels" else ("bitmaps", "rest")
    masks = {_name(kind, layer.weight) for layer in manifest.layers for kind in kinds}
    return masks | {_name("norm", norm.scale) for norm in manifest.norms}


def encode_layer(layer: LayerSpec, weight: SharedWeight) -> dict[str, Array]:
    """Tensors that, with the densest sub-net's weight, restore the layer."""
    match weight.masks:
        case Levels(levels, subnets):
            return {_name("levels", layer.weight): pack(levels, bits_for(subnets))}
        case Bitmaps(masks):
            rows = np.stack([pack(mask.view(np.uint8), 1) for mask in masks])
            rest = weight.values[weight.masks.union() & ~masks[0]]
            return {_name("bitmaps", layer.weight): rows, _name("rest", layer.weight): rest}


def decode_layer(
    layer: LayerSpec,
    encoding: MaskEncoding,
    subnets: int,
    densest: NDArray[np.float32],
    stack: Mapping[str, Array],
) -> SharedWeight:
    """The layer whose densest sub-net has the weight `densest`."""
    masks = _levels(layer, subnets, stack) if encoding == "levels" else _bitmaps(layer, subnets, stack)
    kept = masks.mask(0)
    if densest[~kept].any():
        raise ArtifactError(f"tensor {layer.weight!a}", "is not zero where the densest sub-net's mask is")
    if encoding == "levels":
        return SharedWeight(densest, masks)
    others = masks.union() & ~kept
    values = densest.copy()
    values[others] = _tensor(_name("rest", layer.weight), np.float32, (int(others.sum()),), stack)
    return SharedWeight(_frozen(values), masks)


def encode_norm(norm: NormSpec, values: NDArray[np.float32]) -> dict[str, Array]:
    """Tensors that, with the densest sub-net's BatchNorm, restore `values` [S, 4, channels]."""
    return {_name("norm", norm.scale): values[1:]}


def decode_norm(
    norm: NormSpec, subnets: int, densest: NDArray[np.float32], stack: Mapping[str, Array]
) -> NDArray[np.float32]:
    """BatchNorm of every sub-net, [S, 4, channels], given the densest's [4, channels]."""
    name = _name("norm", norm.scale)
    others = _tensor(name, np.float32, (subnets - 1, *densest.shape), stack)
    values = np.concatenate([densest[None], others])
    if (values[:, 3] < 0).any():
        raise ArtifactError(f"tensor {name!a}", f"a variance is {values[:, 3].min()}; none can be negative")
    return _frozen(values)


def _levels(layer: LayerSpec, subnets: int, stack: Mapping[str, Array]) -> Levels:
    name, bits = _name("levels", layer.weight), bits_for(subnets)
    packed = _tensor(name, np.uint8, (packed_size(layer.size, bits),), stack)
    levels = _unpacked(name, packed, layer.size, bits)
    if levels.max() > subnets:
        raise ArtifactError(
            f"tensor {name!a}", f"level {levels.max()} is above the {subnets} sub-nets there are"
        )
    return Levels(_frozen(levels.reshape(layer.shape)), subnets)


def _bitmaps(layer: LayerSpec, subnets: int, stack: Mapping[str, Array]) -> Bitmaps:
    name = _name("bitmaps", layer.weight)
    rows = _tensor(name, np.uint8, (subnets, packed_size(layer.size, 1)), stack)
    masks = np.stack([_unpacked(name, row, layer.size, 1) for row in rows]).view(np.bool_)
    return Bitmaps(_frozen(masks.reshape(subnets, *layer.shape)))


def _unpacked(name: str, packed: NDArray[np.uint8], count: int, bits: int) -> NDArray[np.uint8]:
    try:
        return unpack(packed, count, bits)
    except SpecError as error:
        raise ArtifactError(f"tensor {name!a}", str(error)) from error


def _tensor(
    name: str, kind: type[Scalar], shape: tuple[int, ...], stack: Mapping[str, Array]
) -> NDArray[Scalar]:
    """The named tensor; `ArtifactError` when its type or shape is another."""
    found = stack[name]
    if found.dtype != kind or found.shape != shape:
        needed = f"{np.dtype(kind)} {list(shape)}"
        raise ArtifactError(
            f"tensor {name!a}", f"is {found.dtype} {list(found.shape)}, the manifest needs {needed}"
        )
    return found  # type: ignore[return-value]


def _frozen(array: NDArray[Scalar]) -> NDArray[Scalar]:
    array.setflags(write=False)
    return array


def _name(kind: str, initializer: str) -> str:
    return f"downshift.{kind}/{initializer}"
