"""Hot swap and drain under load: every request answered once, rightly, by the version that it names.

    python -m benchmarks.server.swaps --swaps 100 --requests 100000

Two artifacts with different answers take turns in one served model, now and then with a corrupt file
between them, while several connections ask without a pause. Odd versions must answer what the first
artifact does, even ones what the second does. In the end the server is asked to stop while the connections
go on: from then on it may refuse with 503, or close a connection that waits for nothing.
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort

from benchmarks.harness.client import HOST, TOLERANCE, V2Binary
from benchmarks.harness.process import ServerProcess, environment
from downshift.models import artifact as artifacts
from downshift.models.materialize import materialize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from downshift.models.artifact import Artifact

    Floats = NDArray[np.float32]

MODEL = "swapped"
KEY = "swapping-admin-key"
CORRUPT_EVERY = 10  # swaps
OK, REFUSED, BAD = 200, 503, 400


class Asker(threading.Thread):
    """One connection that asks until it is told to stop; counts what became of every request.

    statuses: of answers. versions: that answered. wrong: answers with other logits. lost: requests whose
    answer never came. `draining`: the server has been asked to end.
    """

    def __init__(self, port: int, image: Floats, expected: Sequence[Mapping[str, Floats]]) -> None:
        super().__init__(daemon=True)
        self.statuses: Counter[int] = Counter()
        self.versions: Counter[str] = Counter()
        self.wrong = self.lost = self.turned_away = 0
        self.draining = self.done = False
        self._port, self._expected = port, expected
        self._request = V2Binary(MODEL).request(image)

    def run(self) -> None:
        """Ask, on a new connection whenever the server has closed the last one."""
        while not self.done:
            try:
                connection = socket.create_connection((HOST, self._port), timeout=60)
            except OSError:  # it listens no more: nothing was sent
                self.turned_away += 1
                if self.draining:
                    return
                continue
            with closing(connection):
                while not self.done and self._ask(connection):
                    pass

    def _ask(self, connection: socket.socket) -> bool:
        """Whether the connection can be used again."""
        received = b""
        try:
            connection.sendall(self._request)
            while (size := _size(received)) is None or len(received) < size:
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
        except OSError:
            pass
        if not received:
            if self.draining:
                self.turned_away += 1  # closed before it read anything of the request
            else:
                self.lost += 1
            return False
        head, _, body = received.partition(b"\r\n\r\n")
        status = int(head[9:12])
        self.statuses[status] += 1
        if status == OK:
            self._check(head, body)
        return b"connection: close" not in head.lower()

    def _check(self, head: bytes, body: bytes) -> None:
        size = int(head.lower().partition(b"inference-header-content-length: ")[2].split(b"\r\n")[0])
        answer = json.loads(body[:size])
        version, subnet = answer["model_version"], answer["parameters"]["subnet"]
        self.versions[version] += 1
        right = self._expected[(int(version) - 1) % 2][subnet]
        error = np.abs(np.frombuffer(body[size:], "<f4") - right).max() / np.abs(right).max()
        self.wrong += not error <= TOLERANCE


def _size(received: bytes) -> int | None:
    head, end, _ = received.partition(b"\r\n\r\n")
    if not end:
        return None
    return len(head) + 4 + int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])


def variants(path: Path) -> tuple[Artifact, Artifact]:
    """The artifact in that file, and one whose classifier has other biases."""
    first = artifacts.read(path)
    model = onnx.ModelProto()
    model.CopyFrom(first.model)
    name = [node for node in model.graph.node if node.op_type == "Gemm"][-1].input[2]
    bias = next(each for each in model.graph.initializer if each.name == name)
    values = onnx.numpy_helper.to_array(bias) + np.arange(bias.dims[0], dtype=np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    return first, artifacts.unpack(artifacts.pack(replace(first, model=model)))


def logits(artifact: Artifact, image: Floats) -> dict[str, Floats]:
    """What plain onnxruntime answers, by sub-net."""
    answers = {}
    for subnet in artifact.manifest.names:
        session = ort.InferenceSession(materialize(artifact, subnet).SerializeToString())
        answers[subnet] = session.run(None, {artifact.manifest.input.name: image})[0][0]
    return answers


def load(server: ServerProcess) -> tuple[int, dict[str, Any]]:
    """Status and answer of a load of the model's file."""
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{server.url}/v2/repository/models/{MODEL}/load", data=b"{}", headers={"X-API-Key": KEY}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read())


def swap_and_drain(  # noqa: PLR0913 - the command line has them all
    source: Path,
    *,
    swaps: int,
    requests: int,
    connections: int,
    seconds: float,
    told: Callable[[str], None] = print,
) -> dict[str, Any]:
    """What became of every request; stops early after `seconds`."""
    first, second = variants(source)
    image = np.random.default_rng(0).standard_normal((1, *first.manifest.input.shape), np.float32)
    expected = [logits(first, image), logits(second, image)]
    files = [artifacts.pack(first), artifacts.pack(second)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / f"{MODEL}.onnx"
        path.write_bytes(files[0])
        settings = {"DOWNSHIFT_ADMIN_KEYS": KEY, "DOWNSHIFT_THREADS": "1"}
        with ServerProcess([str(path)], folder, settings) as server:
            askers = [Asker(server.port, image, expected) for _ in range(connections)]
            for asker in askers:
                asker.start()
            began, done, rolled_back, durations = time.monotonic(), 0, 0, []
            resident = server.resident_bytes

            def asked() -> int:
                return sum(sum(asker.statuses.values()) for asker in askers)

            while (done < swaps or asked() < requests) and time.monotonic() < began + seconds:
                if done >= swaps:
                    time.sleep(0.05)
                    continue
                if done % CORRUPT_EVERY == 1:
                    path.write_bytes(files[0][: len(files[0]) // 2])
                    status, answer = load(server)
                    assert status == BAD, answer  # noqa: S101 - a benchmark checks what it measures
                    rolled_back += 1
                path.write_bytes(files[(done + 1) % 2])
                begin = time.monotonic()
                status, answer = load(server)
                durations.append(time.monotonic() - begin)
                assert status == OK, answer  # noqa: S101
                assert answer["version"] == str(done + 2), answer  # noqa: S101
                done += 1
                if done % 10 == 0:
                    told(f"{done} swaps, {asked()} requests")
            before = {"requests": asked(), "swaps": done, "seconds": round(time.monotonic() - began, 1)}
            statuses = sum((asker.statuses for asker in askers), Counter[int]())
            grown = server.resident_bytes - resident
            for asker in askers:
                asker.draining = True
            server.stop()
            code = server.process.returncode
            for asker in askers:
                asker.done = True
                asker.join(60)
            after = sum((asker.statuses for asker in askers), Counter[int]()) - statuses
    return {
        **before,
        "rolled_back": rolled_back,
        "connections": connections,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "versions_that_answered": len(set().union(*(asker.versions for asker in askers))),
        "lost": sum(asker.lost for asker in askers),
        "wrong": sum(asker.wrong for asker in askers),
        "load_seconds": {"median": float(np.median(durations)), "max": max(durations)} if durations else {},
        "resident_growth_bytes": grown,
        "drain": {
            "statuses": {str(status): count for status, count in sorted(after.items())},
            "turned_away": sum(asker.turned_away for asker in askers),
            "exit_code": code,
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Swap, ask, drain; print and write what became of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("downshift/models/zoo/cifar10-resnet20.onnx"))
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=550.0, help="stop after that long in any case")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/server/swaps.json"))
    options = parser.parse_args(arguments)
    result = swap_and_drain(
        options.model,
        swaps=options.swaps,
        requests=options.requests,
        connections=options.connections,
        seconds=options.seconds,
    )
    command = f"python -m benchmarks.server.swaps --swaps {options.swaps} --requests {options.requests}"
    result |= {"model": options.model.name, "command": command, "environment": environment()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
