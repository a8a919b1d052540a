"""How servers are asked: an image as a whole HTTP request, and the logits in the answer to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson

from benchmarks.harness.errors import WrongAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Image = NDArray[Any]

BINARY = {"Content-Type": "application/octet-stream"}
DATATYPES = {"float32": "FP32", "uint8": "UINT8"}
_INFERENCE_HEADER = re.compile(rb"\r\ninference-header-content-length: *([0-9]+)", re.IGNORECASE)


class Wire(Protocol):
    """One way to put a request."""

    def request(self, image: Image) -> bytes:
        """The whole HTTP request for one image [1, C, H, W]."""
        ...

    def logits(self, head: bytes, body: bytes) -> bytes:
        """The logits in an answer, little-endian float32; raises `WrongAnswer` where there are none."""
        ...


@dataclass(frozen=True)
class RawBytes:
    """The image's float32 bytes in, the logits' out: what costs a server least."""

    path: str = "/infer"

    def request(self, image: Image) -> bytes:
        """See `Wire`."""
        return post(self.path, image.tobytes(), BINARY)

    def logits(self, head: bytes, body: bytes) -> bytes:  # noqa: ARG002 - the protocol's
        """See `Wire`."""
        return body


@dataclass(frozen=True)
class V2Binary:
    """The V2 protocol with its binary extension; images are float32, or pixels as uint8."""

    model: str
    input: str = "image"
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, image: Image) -> bytes:
        """See `Wire`."""
        size = {"binary_data_size": image.nbytes}
        datatype = DATATYPES[image.dtype.name]
        tensor = {"name": self.input, "datatype": datatype, "shape": list(image.shape), "parameters": size}
        head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
        headers = BINARY | {"Inference-Header-Content-Length": str(len(head))} | dict(self.headers)
        return post(f"/v2/models/{self.model}/infer", head + image.tobytes(), headers)

    def logits(self, head: bytes, body: bytes) -> bytes:
        """See `Wire`."""
        return self.parts(head, body)[1]

    @staticmethod
    def parts(head: bytes, body: bytes) -> tuple[bytes, bytes]:
        """The JSON and the tensor of an answer; raises `WrongAnswer` where it has no binary tensor."""
        length = _INFERENCE_HEADER.search(head)
        if length is None:
            raise WrongAnswer(f"no binary tensor in {body[:200]!r}")
        return body[: int(length[1])], body[int(length[1]) :]


@dataclass(frozen=True)
class V2Json:
    """The V2 protocol in JSON, data flat."""

    model: str
    input: str = "image"
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, image: Image) -> bytes:
        """See `Wire`."""
        datatype = DATATYPES[image.dtype.name]
        tensor = {"name": self.input, "datatype": datatype, "shape": list(image.shape), "data": image.ravel()}
        body = orjson.dumps({"inputs": [tensor]}, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = {"Content-Type": "application/json"} | dict(self.headers)
        return post(f"/v2/models/{self.model}/infer", body, headers)

    def logits(self, head: bytes, body: bytes) -> bytes:  # noqa: ARG002 - the protocol's
        """See `Wire`."""
        return np.array(orjson.loads(body)["outputs"][0]["data"], "<f4").tobytes()


@dataclass(frozen=True)
class NestedJson:
    """A JSON object with one tensor as nested lists in, nested lists out."""

    path: str = "/infer"
    name: str = "images"

    def request(self, image: Image) -> bytes:
        """See `Wire`."""
        body = orjson.dumps({self.name: image}, option=orjson.OPT_SERIALIZE_NUMPY)
        return post(self.path, body, {"Content-Type": "application/json"})

    def logits(self, head: bytes, body: bytes) -> bytes:  # noqa: ARG002 - the protocol's
        """See `Wire`."""
        return np.array(orjson.loads(body), "<f4").tobytes()


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A whole POST request."""
    lines = [f"POST {path} HTTP/1.1", "Host: benchmark", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
