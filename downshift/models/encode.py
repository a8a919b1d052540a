"""From a network's graph and its stacks to an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.models import plain_onnx
from downshift.models.artifact import Artifact, pack, unpack
from downshift.models.errors import ArtifactError
from downshift.models.shared_weight import Bitmaps, Levels, SharedWeight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from downshift.models.plain_onnx import Array
    from downshift.models.shared_weight import Masks
    from downshift.models.spec import LayerSpec, Manifest, NormSpec

    MaskInput = NDArray[np.bool_] | NDArray[np.uint8]


def encode(
    model: onnx.ModelProto,
    manifest: Manifest,
    masks: Mapping[str, MaskInput],
    norms: Sequence[NDArray[np.float32]],
    weights: Mapping[str, NDArray[np.float32]] | None = None,
) -> Artifact:
    """The artifact made of a graph, its manifest and the stacks, checked and sealed as `read` returns it.

    model: plain ONNX of the network; its initializers give every tensor that the arguments below do not.
    masks: by weight initializer, booleans [S, *shape], or for nested masks their levels, uint8 [*shape].
    norms: float32 [S, 4, channels] each (scale, bias, mean, variance), in the order of `manifest.norms`.
    weights: by initializer, a layer's values for all sub-nets; by default those in `model`.

    Doc strings and metadata of the exporter are dropped: they may hold paths of the machine that trained.
    Raises `ArtifactError` naming the part that does not fit, and `SpecError` for masks that are not nested
    though the manifest says 'levels'.
    """
    plain = plain_onnx.normalize(model)
    tensors = plain_onnx.arrays(plain.graph.initializer, "initializer") | dict(weights or {})
    shared = {layer.weight: _shared(layer, manifest, tensors, masks) for layer in manifest.layers}
    if len(norms) != len(manifest.norms):
        raise ArtifactError("norms", f"{len(norms)} stacks for the {len(manifest.norms)} of the manifest")
    stacks = tuple(_norm(norm, manifest, stack) for norm, stack in zip(manifest.norms, norms, strict=True))
    densest: dict[str, Array] = {name: weight.masked(0) for name, weight in shared.items()}
    for norm, stack in zip(manifest.norms, stacks, strict=True):
        densest |= zip(norm.initializers, stack[0], strict=True)
    for proto in plain.graph.initializer:
        if proto.name in densest:
            proto.CopyFrom(plain_onnx.tensor(proto.name, densest[proto.name]))
    return unpack(pack(Artifact(manifest, plain, shared, stacks)))


def _shared(
    layer: LayerSpec, manifest: Manifest, tensors: Mapping[str, Array], masks: Mapping[str, MaskInput]
) -> SharedWeight:
    field = f"layer {layer.weight!a}"
    if layer.weight not in tensors:
        raise ArtifactError(field, "the graph has no initializer of that name")
    if layer.weight not in masks:
        raise ArtifactError(field, "has no masks; give them for every layer of the manifest")
    values, mask = tensors[layer.weight], masks[layer.weight]
    stacked = (len(manifest.subnets), *layer.shape)
    if values.shape != layer.shape or mask.shape != (stacked if mask.dtype == np.bool_ else layer.shape):
        shapes = f"weight {list(values.shape)} and masks {list(mask.shape)}"
        raise ArtifactError(field, f"{shapes}, the manifest needs {list(layer.shape)} and {list(stacked)}")
    return SharedWeight(np.asarray(values, np.float32), _masks(manifest, mask))


def _masks(manifest: Manifest, given: MaskInput) -> Masks:
    """The masks in the form that the manifest names."""
    if given.dtype == np.bool_:
        stacked = given.astype(np.bool_, copy=False)
        return Levels.from_masks(stacked) if manifest.masks == "levels" else Bitmaps(stacked)
    levels = Levels(given.astype(np.uint8, copy=False), len(manifest.subnets))
    return levels if manifest.masks == "levels" else Bitmaps(levels.stacked())


def _norm(norm: NormSpec, manifest: Manifest, stack: NDArray[np.float32]) -> NDArray[np.float32]:
    shape = (len(manifest.subnets), len(norm.initializers), norm.channels)
    if stack.shape != shape:
        raise ArtifactError(
            f"norm {norm.scale!a}", f"stack {list(stack.shape)}, the manifest needs {list(shape)}"
        )
    return np.asarray(stack, np.float32)
