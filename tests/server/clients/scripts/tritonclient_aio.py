"""tritonclient's asyncio client, many requests at once; prints what it saw as one line of JSON."""

import asyncio
import json
import sys

import numpy as np
import tritonclient.http.aio as http
from tritonclient.utils import InferenceServerException

address, model = sys.argv[1:]
values = np.linspace(-1, 1, 2 * 75, dtype=np.float32).reshape(2, 3, 5, 5)


async def main():
    async with http.InferenceServerClient(address) as client:

        async def answer(binary, encoding):
            tensor = http.InferInput("image", [2, 3, 5, 5], "FP32")
            tensor.set_data_from_numpy(values, binary_data=binary)
            result = await client.infer(
                model,
                [tensor],
                outputs=[http.InferRequestedOutput("logits", binary_data=binary)],
                headers={"X-Subnet": "s0"},
                request_compression_algorithm=encoding,
                response_compression_algorithm=encoding,
            )
            return np.ravel(result.as_numpy("logits")).astype(float).tolist()

        ways = [(binary, encoding) for binary in (True, False) for encoding in (None, "gzip", "deflate")]
        answers = await asyncio.gather(*(answer(*way) for way in ways * 4))
        try:
            await client.infer("other", [])
        except InferenceServerException as error:
            refusal = [error.status(), error.message()]
        return {
            "health": [
                await client.is_server_live(),
                await client.is_server_ready(),
                await client.is_model_ready(model),
            ],
            "metadata": await client.get_model_metadata(model),
            "config": await client.get_model_config(model),
            "statistics": await client.get_inference_statistics(model),
            "answers": answers,
            "refusal": refusal,
        }


print(json.dumps(asyncio.run(main())))
