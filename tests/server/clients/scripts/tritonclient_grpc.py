"""What tritonclient's gRPC clients see of a server: sync, callbacks, stream, asyncio; prints it as JSON."""

import asyncio
import json
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

address, model, admin_key = sys.argv[1:]
values = np.linspace(-1, 1, 2 * 75, dtype=np.float32).reshape(2, 3, 5, 5)
pixels = (np.arange(75) * 31 % 256).astype(np.uint8).reshape(1, 3, 5, 5)
PINNED = {"x-subnet": "s0"}


def given(array, datatype="FP32", kind=triton):
    tensor = kind.InferInput("image", list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return [tensor]


def logits(result):
    return np.ravel(result.as_numpy("logits")).astype(float).tolist()


def refusal(function, *arguments, **choices):
    try:
        function(*arguments, **choices)
    except InferenceServerException as error:
        return [error.status(), error.message()]
    raise AssertionError("it was not refused")


def callbacks(client):
    results = queue.Queue()
    for _ in range(4):
        client.async_infer(
            model, given(values), lambda result, error: results.put((result, error)), headers=PINNED
        )
    found = [results.get(timeout=60) for _ in range(4)]
    assert not any(error for _, error in found)
    return [logits(result) for result, _ in found]


def stream(client):
    results = queue.Queue()
    client.start_stream(lambda result, error: results.put((result, error)), headers=PINNED)
    for number in range(8):
        client.async_stream_infer(model if number != 3 else "other", given(values), request_id=str(number))
    found = [results.get(timeout=60) for _ in range(8)]
    client.stop_stream()
    return [
        {"error": error.message()} if error else {"id": result.get_response().id, "logits": logits(result)}
        for result, error in found
    ]


def fields(message):
    """Name, number and type of every field below a message, of those that ours has."""
    return {
        field.name: [field.number, field.type, field.message_type.full_name if field.message_type else ""]
        for field in message.fields
    }


async def over_asyncio():
    async with triton_aio.InferenceServerClient(address) as client:
        health = [
            await client.is_server_live(),
            await client.is_server_ready(),
            await client.is_model_ready(model),
        ]
        answers = await asyncio.gather(
            *(client.infer(model, given(values, kind=triton_aio), headers=PINNED) for _ in range(24))
        )

        async def messages():
            for number in range(6):
                yield {
                    "model_name": model,
                    "inputs": given(values, kind=triton_aio),
                    "request_id": str(number),
                }

        streamed = []
        async for result, error in client.stream_infer(messages(), headers=PINNED):
            assert error is None, error
            streamed.append([result.get_response().id, logits(result)])
        return {"health": health, "answers": [logits(answer) for answer in answers], "streamed": streamed}


client = triton.InferenceServerClient(address)
before = client.get_inference_statistics(model, as_json=True)["model_stats"][0]["inference_stats"]
answers = {
    "plain": logits(client.infer(model, given(values), headers=PINNED)),
    "version": logits(client.infer(model, given(values), model_version="1", headers=PINNED)),
    "gzip": logits(client.infer(model, given(values), headers=PINNED, compression_algorithm="gzip")),
    "deadline": logits(client.infer(model, given(values), headers=PINNED, client_timeout=30.0)),
}
budgeted = client.infer(
    model, given(values), request_id="seven", headers={"x-latency-budget-ms": "30000"}, timeout=29_000_000
)
after = client.get_inference_statistics(model, as_json=True)["model_stats"][0]["inference_stats"]
classes = client.infer(
    model, given(values), outputs=[triton.InferRequestedOutput("logits", class_count=2)], headers=PINNED
).as_numpy("logits")
admin = {"authorization": f"Bearer {admin_key}"}
index = client.get_model_repository_index(as_json=True)
refused_load = refusal(client.load_model, model)
client.load_model(model, headers=admin)
reloaded = client.get_model_metadata(model, as_json=True)["versions"]
seen = {
    "health": [client.is_server_live(), client.is_server_ready(), client.is_model_ready(model)],
    "other_model": client.is_model_ready("other"),
    "server": client.get_server_metadata(as_json=True),
    "metadata": client.get_model_metadata(model, as_json=True),
    "config": client.get_model_config(model, as_json=True),
    "answers": answers,
    "half": logits(client.infer(model, given(values.astype(np.float16), "FP16"), headers=PINNED)),
    "double": logits(client.infer(model, given(values.astype(np.float64), "FP64"), headers=PINNED)),
    "pixels": logits(client.infer(model, given(pixels, "UINT8"), headers=PINNED)),
    "classes": [[each.decode() for each in row] for row in classes],
    "budgeted": MessageToDict(budgeted.get_response(), preserving_proto_field_name=True),
    "statistics": [before, after],
    "callbacks": callbacks(client),
    "stream": stream(client),
    "index": index,
    "refused_load": refused_load,
    "reloaded": reloaded,
    "aio": asyncio.run(over_asyncio()),
    "refusals": {
        "shape": refusal(client.infer, model, given(values[:, :, :4])),
        "datatype": refusal(client.infer, model, given(values.astype(np.int32), "INT32")),
        "model": refusal(client.infer, "other", given(values)),
        "budget": refusal(client.infer, model, given(values), headers={"x-latency-budget-ms": "0.000001"}),
        "shared_memory": refusal(client.get_system_shared_memory_status),
    },
    "fields": {
        name: fields(message)
        for module in (service_pb2, model_config_pb2)
        for name, message in module.DESCRIPTOR.message_types_by_name.items()
    },
}
client.close()
print(json.dumps(seen))
