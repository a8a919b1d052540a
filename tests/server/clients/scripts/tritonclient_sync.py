"""Everything tritonclient's HTTP client asks of a server; prints what it saw as one line of JSON."""

import json
import sys

import numpy as np
from tritonclient import http
from tritonclient.utils import InferenceServerException

address, model = sys.argv[1:]
values = np.linspace(-1, 1, 2 * 75, dtype=np.float32).reshape(2, 3, 5, 5)
pixels = (np.arange(75) * 31 % 256).astype(np.uint8).reshape(1, 3, 5, 5)
client = http.InferenceServerClient(address)


def given(array, datatype="FP32", binary=True):
    tensor = http.InferInput("image", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return [tensor]


def wanted(**choices):
    return [http.InferRequestedOutput("logits", **choices)]


def answer(inputs, **choices):
    result = client.infer(model, inputs, headers={"X-Subnet": "s0"}, **choices)
    return np.ravel(result.as_numpy("logits")).astype(float).tolist()


def refusal(function, *arguments, **choices):
    try:
        function(*arguments, **choices)
    except InferenceServerException as error:
        return [error.status(), error.message()]
    raise AssertionError("it was not refused")


before = client.get_inference_statistics(model)["model_stats"][0]["inference_stats"]
answers = {
    "binary": answer(given(values)),
    "json": answer(given(values, binary=False), outputs=wanted(binary_data=False)),
    "mixed": answer(given(values), outputs=wanted(binary_data=False)),
    "gzip": answer(
        given(values), request_compression_algorithm="gzip", response_compression_algorithm="gzip"
    ),
    "deflate": answer(
        given(values), request_compression_algorithm="deflate", response_compression_algorithm="deflate"
    ),
    "version": answer(given(values), model_version="1"),
    "async": np.ravel(
        client.async_infer(model, given(values), headers={"X-Subnet": "s0"}).get_result().as_numpy("logits")
    )
    .astype(float)
    .tolist(),
}
whole = client.infer(
    model,
    given(np.repeat(values, 100, axis=0)),
    outputs=wanted(binary_data=False),
    response_compression_algorithm="gzip",
)
budgeted = client.infer(
    model, given(values), request_id="seven", headers={"X-Latency-Budget-Ms": "30000"}, timeout=29_000_000
).get_response()
classes = {
    str(binary): client.infer(
        model,
        given(values),
        outputs=wanted(class_count=2, binary_data=binary),
        headers={"X-Subnet": "s0"},
    ).as_numpy("logits")
    for binary in (True, False)
}
after = client.get_inference_statistics(model)["model_stats"][0]
seen = {
    "health": [client.is_server_live(), client.is_server_ready(), client.is_model_ready(model)],
    "other_model": client.is_model_ready("other"),
    "server": client.get_server_metadata(),
    "metadata": client.get_model_metadata(model, "1"),
    "config": client.get_model_config(model),
    "answers": answers,
    "compressed_shape": list(whole.as_numpy("logits").shape),
    "half": answer(given(values.astype(np.float16), "FP16")),
    "double": answer(given(values.astype(np.float64), "FP64")),
    "pixels": answer(given(pixels, "UINT8")),
    "classes": {
        binary: [[each if isinstance(each, str) else each.decode() for each in row] for row in found]
        for binary, found in classes.items()
    },
    "budgeted": budgeted,
    "statistics": [before, after],
    "all_statistics": client.get_inference_statistics(),
    "refusals": {
        "shape": refusal(client.infer, model, given(values[:, :, :4])),
        "datatype": refusal(client.infer, model, given(values.astype(np.int32), "INT32")),
        "model": refusal(client.infer, "other", given(values)),
        "budget": refusal(client.infer, model, given(values), headers={"X-Latency-Budget-Ms": "0.000001"}),
        "output": refusal(client.infer, model, given(values), outputs=[http.InferRequestedOutput("labels")]),
        "shared_memory": refusal(client.get_system_shared_memory_status),
    },
}
client.close()
print(json.dumps(seen))
