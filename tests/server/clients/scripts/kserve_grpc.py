"""What KServe's gRPC client sees of a server; prints it as one line of JSON."""

import asyncio
import json
import sys

import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient

address, model = sys.argv[1:]
values = np.linspace(-1, 1, 2 * 75, dtype=np.float32).reshape(2, 3, 5, 5)


def asked(raw):
    tensor = InferInput("image", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, binary_data=raw)
    return InferRequest(model_name=model, infer_inputs=[tensor], request_id="seven")


async def main():
    client = InferenceGRPCClient(address)
    seen = {
        "health": [
            await client.is_server_live(),
            await client.is_server_ready(),
            await client.is_model_ready(model),
        ],
    }
    for raw in (True, False):
        answer = await client.infer(asked(raw), headers=[("x-subnet", "s0")])
        seen["raw" if raw else "typed"] = {
            "id": answer.id,
            "logits": np.ravel(answer.outputs[0].as_numpy()).astype(float).tolist(),
        }
    await client.close()
    return seen


print(json.dumps(asyncio.run(main())))
