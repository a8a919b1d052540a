"""A load generator that is never the bottleneck: raw sockets, one thread, requests made beforehand.

Every connection sends its next request as soon as its answer is there. Every answer is checked: one that
was seen before costs a look-up, a new one is compared with the logits that the model gives.
"""

from __future__ import annotations

import os
import re
import select
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

HOST = "127.0.0.1"
TOLERANCE = 1e-3
"""Largest error of a logit, as a share of the largest logit."""
OK = 200
_CHUNK = 1 << 18
_REMEMBERED = 4096
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_SUBNET = re.compile(rb"\r\nx-subnet: *([!-~]+)", re.IGNORECASE)


class WrongAnswer(Exception):  # noqa: N818 - reads well where it is raised
    """An answer that holds other logits than the model's, or none."""


class Wire(Protocol):
    """How a server wants its requests."""

    def request(self, image: Floats) -> bytes:
        """The whole HTTP request for one image [1, C, H, W]."""
        ...

    def logits(self, head: bytes, body: bytes) -> bytes:
        """The answer's logits, little-endian float32."""
        ...


@dataclass(frozen=True)
class RawBytes:
    """The image's float32 bytes in, the logits' out: what costs a server least."""

    path: str = "/infer"

    def request(self, image: Floats) -> bytes:
        """See `Wire`."""
        return post(self.path, image.tobytes(), {"Content-Type": "application/octet-stream"})

    def logits(self, head: bytes, body: bytes) -> bytes:  # noqa: ARG002 - the protocol's
        """See `Wire`."""
        return body


@dataclass(frozen=True)
class V2Binary:
    """The V2 protocol with its binary extension."""

    model: str
    input: str = "image"
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, image: Floats) -> bytes:
        """See `Wire`."""
        size = {"binary_data_size": image.nbytes}
        tensor = {"name": self.input, "datatype": "FP32", "shape": list(image.shape), "parameters": size}
        head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        }
        return post(f"/v2/models/{self.model}/infer", head + image.tobytes(), headers | dict(self.headers))

    def logits(self, head: bytes, body: bytes) -> bytes:
        """See `Wire`."""
        length = re.search(rb"\r\ninference-header-content-length: *([0-9]+)", head, re.IGNORECASE)
        if length is None:
            raise WrongAnswer(f"no binary tensor in {body[:200]!r}")
        return body[int(length[1]) :]


@dataclass(frozen=True)
class V2Json:
    """The V2 protocol in JSON, data flat."""

    model: str
    input: str = "image"
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, image: Floats) -> bytes:
        """See `Wire`."""
        tensor = {"name": self.input, "datatype": "FP32", "shape": list(image.shape), "data": image.ravel()}
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

    def request(self, image: Floats) -> bytes:
        """See `Wire`."""
        body = orjson.dumps({self.name: image}, option=orjson.OPT_SERIALIZE_NUMPY)
        return post(self.path, body, {"Content-Type": "application/json"})

    def logits(self, head: bytes, body: bytes) -> bytes:  # noqa: ARG002 - the protocol's
        """See `Wire`."""
        return np.array(orjson.loads(body), "<f4").tobytes()


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A whole POST request."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {HOST}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True)
class Question:
    """One request, and its right logits: of each sub-net by name, or of all servers' one model under ''."""

    request: bytes
    expected: Mapping[str, Floats]


@dataclass
class Load:
    """What a run came to.

    latencies: seconds of every answer that was right. subnets: how many each sub-net gave. refused:
    answers by another status than 200. cpu: processor seconds of the client. seconds: of the run. size: of
    the last answer's body in bytes.
    """

    latencies: list[float] = field(default_factory=list)
    subnets: Counter[str] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    cpu: float = 0.0
    seconds: float = 0.0
    size: int = 0

    @property
    def throughput(self) -> float:
        """Right answers a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds within which that share of the answers came."""
        return float(np.quantile(self.latencies, share)) if self.latencies else float("nan")


class _Line:
    """One connection and the request it waits for."""

    def __init__(self, port: int, index: int) -> None:
        self.socket = socket.create_connection((HOST, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.index = index
        self.began = 0.0
        self.received = b""

    def send(self, questions: Sequence[Question]) -> None:
        self.index = (self.index + 1) % len(questions)
        self.received = b""
        self.began = time.perf_counter()
        self.socket.sendall(questions[self.index].request)

    def receive(self) -> tuple[bytes, bytes] | None:
        """(head, body) of the answer, or None while it is not whole."""
        chunk = self.socket.recv(_CHUNK)
        if not chunk:
            raise WrongAnswer(f"the server hung up after {self.received[:300]!r}")
        self.received += chunk
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return None
        length = _LENGTH.search(head)
        if length is None:
            raise WrongAnswer(f"an answer without Content-Length: {head[:300]!r}")
        return (head, body) if len(body) == int(length[1]) else None


class Client:
    """Sends the questions of one model over one wire and knows the right answers it has seen."""

    def __init__(self, wire: Wire, images: Floats, expected: Mapping[str, Floats]) -> None:
        """images: float32 [n, C, H, W], sent one at a time. expected: sub-net -> logits [n, classes]."""
        self._wire = wire
        self._questions = [
            Question(
                wire.request(images[index : index + 1]),
                {name: logits[index] for name, logits in expected.items()},
            )
            for index in range(len(images))
        ]
        self._right: set[tuple[int, str, bytes]] = set()

    def run(self, port: int, connections: int, seconds: float) -> Load:
        """Keep that many connections busy from one core; raises `WrongAnswer` at the first wrong answer."""
        load, questions = Load(), self._questions
        lines = {}
        poller = select.epoll()
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(cores)})
        try:
            for index in range(connections):
                line = _Line(port, index)
                lines[line.socket.fileno()] = line
                poller.register(line.socket.fileno(), select.EPOLLIN)
            cpu, begin = time.process_time(), time.perf_counter()
            end = begin + seconds
            for line in lines.values():
                line.send(questions)
            waiting = connections
            while waiting:
                for descriptor, _ in poller.poll():
                    line = lines[descriptor]
                    answer = line.receive()
                    if answer is None:
                        continue
                    now = time.perf_counter()
                    taken, index = now - line.began, line.index
                    if now < end:
                        line.send(questions)
                    else:
                        waiting -= 1
                    self._count(load, index, taken, *answer)
            load.seconds, load.cpu = time.perf_counter() - begin, time.process_time() - cpu
        finally:
            os.sched_setaffinity(0, cores)
            poller.close()
            for line in lines.values():
                line.socket.close()
        return load

    def _count(self, load: Load, index: int, taken: float, head: bytes, body: bytes) -> None:
        status = int(head[9:12])
        if status != OK:
            load.refused[status] += 1
            return
        named = _SUBNET.search(head)
        subnet = named[1].decode() if named else ""
        key = index, subnet, self._wire.logits(head, body)
        if key not in self._right:
            check(key[2], self._questions[index].expected, subnet)
            if len(self._right) < _REMEMBERED:
                self._right.add(key)
        load.latencies.append(taken)
        load.subnets[subnet] += 1
        load.size = len(body)


def check(answer: bytes, expected: Mapping[str, Floats], subnet: str) -> None:
    """Raise `WrongAnswer` unless these are the logits of the sub-net that is said to have given them."""
    right = expected[subnet]
    if len(answer) != right.nbytes:
        raise WrongAnswer(f"{len(answer)} bytes of logits, not {right.nbytes}: {answer[:200]!r}")
    error = float(np.abs(np.frombuffer(answer, "<f4") - right).max() / np.abs(right).max())
    if not error <= TOLERANCE:
        raise WrongAnswer(f"sub-net {subnet or 'served'}: wrong by {error:.2g} of the largest logit")
