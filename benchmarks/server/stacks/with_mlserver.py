"""MLServer: a custom runtime, adaptive batching that waits a millisecond, its default one worker process."""

from __future__ import annotations

import asyncio

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_model import MAX_BATCH, PORT, Model

NAME = "model"


class Classifier(MLModel):
    """V2 tensors in and out."""

    async def load(self) -> bool:
        """Make the session, in the process that infers."""
        self._classifier = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The logits of a batch."""
        logits = self._classifier.run(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("logits", logits, use_bytes=False)]
        )


async def main() -> None:
    """Serve until asked to stop."""
    settings = Settings(
        host="127.0.0.1", http_port=PORT, grpc_port=PORT + 1, metrics_endpoint=None, debug=False,
        access_log_enabled=False,
    )  # fmt: skip
    model = ModelSettings(
        name=NAME,
        implementation="with_mlserver.Classifier",
        parameters=ModelParameters(version="1"),
        max_batch_size=MAX_BATCH,
        max_batch_time=0.001,
    )
    await MLServer(settings).start([model])


if __name__ == "__main__":
    asyncio.run(main())
