"""What dense engines compile: a sub-net as plain ONNX, without the channels its pattern removed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from downshift.models.materialize import materialize
from downshift.models.pattern import Channel
from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering.emit import emit
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.shrink import shrunk

if TYPE_CHECKING:
    from downshift.models.artifact import Artifact


def dense_model(artifact: Artifact, subnet: str) -> bytes:
    """The sub-net serialised: materialised and, where whole channels are removed, physically smaller.

    A network that lowering does not know stays as it is: right, only not smaller. Raises `UnknownName`.
    """
    model = materialize(artifact, subnet)
    if isinstance(artifact.manifest.subnet(subnet).pattern, Channel):
        with suppress(UnsupportedModel):
            model = emit(shrunk(lower(model)))
    return bytes(model.SerializeToString())
