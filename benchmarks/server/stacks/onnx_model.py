"""The model that every server here serves: onnxruntime on so many threads, bytes of images in, of logits out.

What they are told is in the environment: BENCH_MODEL (an ONNX file), BENCH_PORT, BENCH_THREADS.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PORT = int(os.environ["BENCH_PORT"])
MAX_BATCH = 8


class Model:
    """An onnxruntime session."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
        self._session = ort.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        image = self._session.get_inputs()[0]
        self._input, self._shape = image.name, image.shape[1:]

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [n, classes] of images [n, C, H, W]."""
        logits: NDArray[np.float32] = self._session.run(None, {self._input: batch})[0]
        return logits

    def answer(self, images: Sequence[bytes]) -> list[bytes]:
        """The logits of each image, computed as one batch."""
        batch = np.frombuffer(b"".join(images), "<f4").reshape(len(images), *self._shape)
        return [row.tobytes() for row in self.run(batch)]
