"""BentoML: a batchable API on numpy arrays, one worker; its dispatcher sizes batches by what it measures."""

from __future__ import annotations

import os
import sys

import bentoml
import numpy as np
from onnx_model import MAX_BATCH, PORT, Model


@bentoml.service(workers=1, traffic={"timeout": 60})
class Classifier:
    """Nested lists of JSON in and out."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(route="/infer", batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60_000)
    def infer(self, images: np.ndarray) -> np.ndarray:
        """The logits of a batch."""
        return self.model.run(np.ascontiguousarray(images, np.float32))


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - no more imports than needed
    command = ["-m", "bentoml", "serve", "with_bentoml:Classifier", "--host", "127.0.0.1"]
    os.execv(  # noqa: S606 - itself
        sys.executable, [sys.executable, *command, "--port", str(PORT), "--working-dir", here]
    )
