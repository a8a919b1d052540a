"""KServe's InferenceRESTClient; prints what it saw as one line of JSON."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

address, model = sys.argv[1:]
values = np.linspace(-1, 1, 2 * 75, dtype=np.float32).reshape(2, 3, 5, 5)


async def main():
    url, headers = f"http://{address}", {"X-Subnet": "s0", "X-Latency-Budget-Ms": "30000"}
    client = InferenceRESTClient(RESTConfig(protocol="v2"))

    async def answer(binary):
        tensor = InferInput("image", [2, 3, 5, 5], "FP32")
        tensor.set_data_from_numpy(values, binary_data=binary)
        request = InferRequest(
            model,
            [tensor],
            request_id="seven",
            request_outputs=[RequestedOutput("logits", parameters={"binary_data": binary})],
        )
        got = {}
        response = await client.infer(
            url, request, model_name=model, headers=dict(headers), response_headers=got
        )
        return {
            "id": response.id,
            "model": response.model_name,
            "logits": np.ravel(response.outputs[0].as_numpy()).astype(float).tolist(),
            "subnet": got["x-subnet"],
        }

    tensor = InferInput("image", [2, 3, 4, 4], "FP32")
    tensor.set_data_from_numpy(values[:, :, :4, :4], binary_data=False)
    try:
        await client.infer(url, InferRequest(model, [tensor]), model_name=model)
    except httpx.HTTPStatusError as error:
        refusal = [error.response.status_code, str(error)]
    seen = {
        "health": [
            await client.is_server_live(url),
            await client.is_server_ready(url),
            await client.is_model_ready(url, model),
        ],
        "other_model": await client.is_model_ready(url, "other"),
        "json": await answer(binary=False),
        "binary": await answer(binary=True),
        "refusal": refusal,
    }
    await client.close()
    return seen


print(json.dumps(asyncio.run(main())))
