"""Mosec: its Rust front, one worker with dynamic batching that waits the least it can."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mosec import Server, Worker
from onnx_model import MAX_BATCH, PORT, Model

if TYPE_CHECKING:
    from collections.abc import Sequence


class Classifier(Worker):
    """Bytes in, bytes out."""

    def __init__(self) -> None:
        self.model = Model()

    def deserialize(self, data: bytes) -> bytes:
        """The image as it came."""
        return data

    def serialize(self, data: bytes) -> bytes:
        """The logits as they are."""
        return data

    def forward(self, data: Sequence[bytes]) -> list[bytes]:
        """The logits of a batch."""
        return self.model.answer(data)


if __name__ == "__main__":
    sys.argv[1:] = [
        "--address",
        "127.0.0.1",
        "--port",
        str(PORT),
        "--timeout",
        "60000",
        "--log-level",
        "warning",
    ]
    server = Server()
    server.append_worker(Classifier, max_batch_size=MAX_BATCH, max_wait_time=1)
    server.run()
