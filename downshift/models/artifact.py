"""The artifact: one ONNX file that holds every sub-net of a trained supernet.

Any ONNX runtime runs the file; it then behaves as the densest sub-net. Beside that graph it carries

* the manifest, as JSON in `metadata_props["downshift.manifest"]`;
* the stacks, as initializers of `training_info[0].initialization`, which inference ignores:
    - `downshift.levels/<weight>`   nested masks: uint8, the levels in ceil(log2(S + 1)) bits a weight;
    - `downshift.bitmaps/<weight>`  independent masks: uint8 [S, ceil(weights / 8)], one bit a weight, and
      `downshift.rest/<weight>`     float32, in flat order, the weights that only sparser sub-nets keep;
    - `downshift.norm/<scale>`      float32 [S - 1, 4, channels], BatchNorm of every sub-net but the densest.

The manifest's `sha256` seals all of it (`models.seal`). Nothing in a file is executed or unpickled, and
reading one takes memory in proportion to its size.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from downshift.models import manifest_json, plain_onnx
from downshift.models.atomic import write_atomically
from downshift.models.errors import ArtifactError, UnknownName
from downshift.models.seal import seal
from downshift.models.stacks import decode_layer, decode_norm, encode_layer, encode_norm, tensor_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from downshift.models.plain_onnx import Array
    from downshift.models.shared_weight import SharedWeight
    from downshift.models.spec import Manifest

MANIFEST_KEY = "downshift.manifest"
LARGEST_FILE = 2**31 - 1
SPARSITY_TOLERANCE = 0.01
AGAIN = "export the artifact again"


@dataclass(frozen=True, eq=False)
class Artifact:
    """A supernet, checked and at rest. Treat everything in it as read-only.

    model: plain ONNX of the densest sub-net, without manifest and stacks.
    weights: by initializer name, one per layer of the manifest.
    norms: float32 [S, 4, channels] each (scale, bias, mean, variance), in the order of the manifest's norms.
    """

    manifest: Manifest
    model: onnx.ModelProto
    weights: Mapping[str, SharedWeight]
    norms: tuple[NDArray[np.float32], ...]

    def masks(self, weight: str) -> NDArray[np.bool_]:
        """What every sub-net keeps of a layer, [S, *shape], densest first; raises `UnknownName`."""
        return self._shared(weight).masks.stacked()

    def weight(self, weight: str, subnet: str) -> NDArray[np.float32]:
        """A layer's weight in one sub-net, zero where it was removed; raises `UnknownName`."""
        return self._shared(weight).masked(self.manifest.index(subnet))

    def _shared(self, weight: str) -> SharedWeight:
        if weight not in self.weights:
            raise UnknownName("layer", weight, self.weights)
        return self.weights[weight]


def read(path: str | Path) -> Artifact:
    """The artifact in a file; `ArtifactError` naming file and field if it is missing, damaged or hostile."""
    data = _load(Path(path))
    try:
        return unpack(data)
    except ArtifactError as error:
        raise ArtifactError(error.field, error.problem, str(path)) from error


def write(path: str | Path, artifact: Artifact) -> None:
    """Write the artifact to one file, wholly or not at all; `ArtifactError` when that fails."""
    data = pack(artifact)
    try:
        write_atomically(Path(path), data)
    except OSError as error:
        why = error.strerror or error
        raise ArtifactError(
            "file", f"cannot write {str(path)!r} ({why}); check its folder and free space"
        ) from error


def pack(artifact: Artifact) -> bytes:
    """The content of the artifact's file, sealed anew; equal artifacts give equal bytes."""
    manifest = artifact.manifest
    stack: dict[str, Array] = {}
    for layer in manifest.layers:
        stack |= encode_layer(layer, artifact.weights[layer.weight])
    for norm, values in zip(manifest.norms, artifact.norms, strict=True):
        stack |= encode_norm(norm, values)
    tensors = plain_onnx.arrays(artifact.model.graph.initializer, "initializer") | stack
    manifest = replace(manifest, sha256=seal(artifact.model, tensors, manifest))
    model = onnx.ModelProto()
    model.CopyFrom(artifact.model)
    model.metadata_props.add(key=MANIFEST_KEY, value=manifest_json.dumps(manifest))
    carrier = model.training_info.add().initialization
    carrier.name = "downshift"
    carrier.initializer.extend(plain_onnx.tensor(name, array) for name, array in sorted(stack.items()))
    return plain_onnx.serialize(model)


def unpack(data: bytes) -> Artifact:
    """The artifact in the content of a file; `ArtifactError` naming the field that is wrong."""
    model = plain_onnx.parse(data)
    manifest = _manifest(model)
    stack = _stack(model, manifest)
    del model.training_info[:]
    del model.metadata_props[:]
    plain_onnx.check(model)
    tensors = plain_onnx.arrays(model.graph.initializer, "initializer")
    found = seal(model, tensors | stack, manifest)
    if found != manifest.sha256:
        said = manifest.sha256[:64]
        raise ArtifactError(
            "manifest.sha256", f"is {said!a}, the content gives {found}; it was altered: {AGAIN}"
        )
    plain_onnx.run_checker(data)
    for name, array in (tensors | stack).items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ArtifactError(f"tensor {name!a}", "holds NaN or infinity; train with a lower learning rate")
    _check_ends(manifest, model)
    artifact = Artifact(manifest, model, *_decode(manifest, tensors, stack))
    _check_counts(artifact)
    _check_patterns(artifact)
    return artifact


def _load(path: Path) -> bytes:
    shown = repr(str(path))
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ArtifactError("file", f"{shown} is not a regular file; give the path of a model.onnx")
        if found.st_size > LARGEST_FILE:
            raise ArtifactError("file", f"{shown} has {found.st_size} bytes; an ONNX file ends at 2 GiB")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError(
            "file", f"{shown} does not exist; give the path of a trained model.onnx"
        ) from error
    except (OSError, ValueError) as error:
        raise ArtifactError("file", f"cannot read {shown} ({error}); check its permissions") from error


def _manifest(model: onnx.ModelProto) -> Manifest:
    texts = [entry.value for entry in model.metadata_props if entry.key == MANIFEST_KEY]
    if not texts:
        raise ArtifactError(
            "manifest",
            "is missing: this is a plain ONNX model, such as an exported sub-net; give the artifact that"
            " `downshift train` wrote",
        )
    if len(texts) > 1:
        raise ArtifactError("manifest", f"is there {len(texts)} times; {AGAIN}")
    return manifest_json.loads(texts[0])


def _stack(model: onnx.ModelProto, manifest: Manifest) -> dict[str, Array]:
    """The stacked tensors: exactly those that the manifest calls for."""
    if len(model.training_info) != 1:
        raise ArtifactError("stacks", f"{len(model.training_info)} training_info, one is needed; {AGAIN}")
    stack = plain_onnx.arrays(model.training_info[0].initialization.initializer, "stack")
    needed = tensor_names(manifest)
    if missing := needed - stack.keys():
        raise ArtifactError(f"stack {min(missing)!a}", f"is missing; {AGAIN}")
    if extra := stack.keys() - needed:
        raise ArtifactError(f"stack {min(extra)!a}", f"belongs to no layer or norm of the manifest; {AGAIN}")
    return stack


def _decode(
    manifest: Manifest, tensors: Mapping[str, Array], stack: Mapping[str, Array]
) -> tuple[dict[str, SharedWeight], tuple[NDArray[np.float32], ...]]:
    """Weights by name and BatchNorm stacks, from the densest sub-net's initializers and the stacks."""
    subnets = len(manifest.subnets)
    owners: dict[str, str] = {}

    def initializer(name: str, shape: tuple[int, ...], owner: str) -> NDArray[np.float32]:
        if name in owners:
            raise ArtifactError(f"manifest.{owner}", f"shares initializer {name!a} with {owners[name]}")
        owners[name] = owner
        if name not in tensors:
            raise ArtifactError(f"manifest.{owner}", f"the graph has no initializer {name!a}")
        found = tensors[name]
        if found.dtype != np.float32 or found.shape != shape:
            is_now = f"{found.dtype} {list(found.shape)}"
            raise ArtifactError(f"manifest.{owner}", f"{name!a} is {is_now}, not float32 {list(shape)}")
        return found  # type: ignore[return-value]

    weights = {}
    for index, layer in enumerate(manifest.layers):
        densest = initializer(layer.weight, layer.shape, f"layers[{index}]")
        weights[layer.weight] = decode_layer(layer, manifest.masks, subnets, densest, stack)
    norms = []
    for index, norm in enumerate(manifest.norms):
        values = [initializer(name, (norm.channels,), f"norms[{index}]") for name in norm.initializers]
        norms.append(decode_norm(norm, subnets, np.stack(values), stack))
    return weights, tuple(norms)


def _check_ends(manifest: Manifest, model: onnx.ModelProto) -> None:
    """Raise unless the graph takes and gives what the manifest says."""
    inputs = [value.name for value in model.graph.input]
    outputs = [value.name for value in model.graph.output]
    if inputs != [manifest.input.name]:
        raise ArtifactError(
            "manifest.input.name", f"is {manifest.input.name!a}, the graph's inputs are {inputs}"
        )
    if outputs != [manifest.output]:
        raise ArtifactError("manifest.output", f"is {manifest.output!a}, the graph's outputs are {outputs}")
    image = model.graph.input[0].type.tensor_type
    sizes = tuple(dimension.dim_value for dimension in image.shape.dim)
    if image.elem_type != onnx.TensorProto.FLOAT or sizes != (0, *manifest.input.shape):
        needed = ["N", *manifest.input.shape]
        raise ArtifactError(
            "manifest.input", f"is float32 {needed}, the graph takes {list(sizes)}, where 0 is any: {AGAIN}"
        )
    classes = [dimension.dim_value for dimension in model.graph.output[0].type.tensor_type.shape.dim]
    if classes[1:] != [len(manifest.labels)]:
        raise ArtifactError("manifest.labels", f"are {len(manifest.labels)}, the graph's output is {classes}")


def _check_counts(artifact: Artifact) -> None:
    """Raise unless the manifest's non-zeros and sparsities are those of the masks."""
    manifest = artifact.manifest
    total = sum(layer.size for layer in manifest.layers)
    for index, subnet in enumerate(manifest.subnets):
        kept = sum(int(np.count_nonzero(weight.masks.mask(index))) for weight in artifact.weights.values())
        if subnet.nonzeros != kept:
            raise ArtifactError(
                f"manifest.subnets[{index}].nonzeros", f"is {subnet.nonzeros}, the masks keep {kept} weights"
            )
        sparsity = 1 - kept / total if total else 0.0
        if abs(subnet.sparsity - sparsity) > SPARSITY_TOLERANCE:
            raise ArtifactError(
                f"manifest.subnets[{index}].sparsity",
                f"is {subnet.sparsity}, the masks remove {sparsity:.4f}",
            )


def _check_patterns(artifact: Artifact) -> None:
    """Raise unless the masks of every sub-net obey its pattern: kernels rely on it."""
    for index, subnet in enumerate(artifact.manifest.subnets):
        for name, weight in artifact.weights.items():
            if not subnet.pattern.holds(weight.masks.mask(index)):
                raise ArtifactError(
                    f"manifest.subnets[{index}].pattern",
                    f"is {str(subnet.pattern)!r}, which the mask of layer {name!a} breaks: {AGAIN}",
                )
