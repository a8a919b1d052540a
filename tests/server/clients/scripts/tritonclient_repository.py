"""tritonclient loads and unloads a model; prints what it saw as one line of JSON."""

import json
import sys

import numpy as np
from tritonclient import http
from tritonclient.utils import InferenceServerException

address, model, key = sys.argv[1:]
client = http.InferenceServerClient(address)
authorised = {"Authorization": f"Bearer {key}"}


def version():
    """Version that answers."""
    tensor = http.InferInput("image", [1, 3, 5, 5], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 3, 5, 5), np.float32))
    return client.infer(model, [tensor]).get_response()["model_version"]


def status(function, *arguments, **choices):
    try:
        function(*arguments, **choices)
    except InferenceServerException as error:
        return error.status()
    return "200"


seen = {"before": client.get_model_repository_index(), "without_key": status(client.load_model, model)}
client.load_model(model, headers=authorised)
seen["loaded"] = client.get_model_repository_index()
seen["answers"] = version()
client.unload_model(model, headers=authorised)
seen["unloaded"] = client.get_model_repository_index()
seen["unloaded_ready"] = client.is_model_ready(model)
seen["unloaded_infer"] = status(version)
client.load_model(model, headers=authorised)
seen["again"] = [client.is_model_ready(model), client.get_model_repository_index()]
client.close()
print(json.dumps(seen))
