"""Whether manifests are of KServe's kinds, by the types in its client; prints the faults as JSON."""

import json
import re
import sys

import kserve
import kubernetes.client

KINDS = {"ServingRuntime": "V1alpha1ServingRuntime", "InferenceService": "V1beta1InferenceService"}
PRIMITIVES = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}


def faults(value, kind, where):
    """What is wrong with the value as one of that kind, a type's name in KServe's or Kubernetes' client."""
    if found := re.fullmatch(r"([Ll]ist\[|[Dd]ict[(\[]str, )(.*)[)\]]", kind):
        if not isinstance(value, list if found[1].lower() == "list[" else dict):
            return [f"{where}: {value!r} is no {kind}"]
        parts = enumerate(value) if isinstance(value, list) else value.items()
        return [fault for name, part in parts for fault in faults(part, found[2], f"{where}.{name}")]
    model = getattr(kserve, kind, None) or getattr(kubernetes.client, kind, None)
    if model is None:
        return [] if isinstance(value, PRIMITIVES[kind]) else [f"{where}: {value!r} is no {kind}"]
    if not isinstance(value, dict):
        return [f"{where}: {value!r} is no {kind}"]
    attributes = {name: attribute for attribute, name in model.attribute_map.items()}
    wrong = [f"{where}.{name}: {kind} has no such field" for name in value if name not in attributes]
    known = {attributes[name]: part for name, part in value.items() if name in attributes}
    try:
        model(**known)  # complains about what is missing
    except ValueError as error:
        wrong.append(f"{where}: {error}")
    for attribute, part in known.items():
        wrong += faults(part, model.openapi_types[attribute], f"{where}.{model.attribute_map[attribute]}")
    return wrong


manifest = json.loads(sys.argv[1])
print(json.dumps(faults(manifest, KINDS[manifest["kind"]], manifest["kind"])))
