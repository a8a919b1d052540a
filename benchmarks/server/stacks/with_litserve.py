"""LitServe: one worker, its fast queue, batches that wait a millisecond (without a wait it would spin)."""

from typing import Annotated

import litserve as ls
from fastapi import Body, Response
from onnx_model import MAX_BATCH, PORT, Model


class Classifier(ls.LitAPI):
    """Bytes in, bytes out."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's
        """Make the session, in the worker."""
        self.model = Model()

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        """The image as it came."""
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """The images as they are."""
        return inputs

    def predict(self, x: list[bytes]) -> list[bytes]:
        """The logits of a batch."""
        return self.model.answer(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """One for each request."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """The logits as they are."""
        return Response(output, media_type="application/octet-stream")


if __name__ == "__main__":
    server = ls.LitServer(
        Classifier(max_batch_size=MAX_BATCH, batch_timeout=0.001),
        accelerator="cpu",
        timeout=60,
        fast_queue=True,
    )
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
