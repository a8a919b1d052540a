"""Whether a manifest is a ScaledObject, by models made of KEDA's definition; prints the faults as JSON."""

import json
import sys

from cloudcoil.models.keda.v1alpha1 import ScaledObject
from pydantic import ValidationError

manifest = json.loads(sys.argv[1])


def missing(given, kept, where):
    """Fields that the model does not know: it drops them."""
    if isinstance(given, dict):
        return [
            fault
            for name, part in given.items()
            for fault in (
                missing(part, kept[name], f"{where}.{name}")
                if name in kept
                else [f"{where}.{name}: no such field"]
            )
        ]
    if isinstance(given, list):
        pairs = enumerate(zip(given, kept, strict=True))
        return [fault for number, (part, held) in pairs for fault in missing(part, held, f"{where}.{number}")]
    return []


try:
    parsed = ScaledObject.model_validate(manifest)
except ValidationError as error:
    faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
else:
    faults = missing(manifest, parsed.model_dump(mode="json", by_alias=True), manifest["kind"])
print(json.dumps(faults))
