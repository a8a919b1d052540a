from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

from downshift.models.materialize import materialize
from tests.models.tiny_artifact import tiny_artifact
from tests.server.clients.served import served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a server of the tiny artifact."""
    with served(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture(scope="module")
def grpc_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` at which a server of the tiny artifact speaks gRPC."""
    pytest.importorskip("grpc_health")
    with served(tmp_path_factory.mktemp("served"), over_grpc=True) as found:
        yield found


@pytest.fixture(scope="session")
def expected() -> Callable[[NDArray[np.float32]], list[float]]:
    """Plain onnxruntime's logits of the densest sub-net, flat."""
    model = materialize(tiny_artifact(), "s0").SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def logits(inputs: NDArray[np.float32]) -> list[float]:
        [outputs] = session.run(None, {"image": inputs})
        return list(map(float, np.ravel(outputs)))

    return logits
