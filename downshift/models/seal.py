"""The SHA-256 that seals an artifact: it changes when anything that a sub-net computes or claims changes.

Over, in this order: every tensor sorted by name (name, dtype, dimensions, little-endian bytes), the graph
without its initializers, the manifest's canonical JSON without the seal. Each part is preceded by its length.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from downshift.models import manifest_json
from downshift.models.plain_onnx import serialize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from downshift.models.plain_onnx import Array
    from downshift.models.spec import Manifest


def seal(model: onnx.ModelProto, tensors: Mapping[str, Array], manifest: Manifest) -> str:
    """The seal, in hex, of a plain model, all tensors of the artifact by name, and its manifest."""
    digest = hashlib.sha256()

    def add(part: bytes | memoryview) -> None:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)

    for name, array in sorted(tensors.items()):
        add(name.encode())
        add(array.dtype.name.encode())
        add(np.array(array.shape, "<i8").tobytes())
        flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
        add(memoryview(flat.view(np.uint8).data))
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    del graph.graph.initializer[:]
    add(serialize(graph))
    add(manifest_json.dumps(replace(manifest, sha256="")).encode())
    return digest.hexdigest()
