"""Does a hot swap or a drain under load lose a request, or answer one by another version than it names?

    python -m benchmarks.server.swaps downshift/models/zoo/cifar10-resnet20.onnx --swaps 100 --requests 100000

Two artifacts with different answers take turns in one served model, now and then with a corrupt file
between them, while several connections ask without a pause. Odd versions must answer what the first
artifact does, even ones what the second does. In the end the server is asked to stop while the connections
go on: from then on it may refuse with 503, or close a connection that waits for nothing.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import orjson

from benchmarks.harness.check import is_right
from benchmarks.harness.connections import OK, Connections
from benchmarks.harness.errors import ExperimentError
from benchmarks.harness.experiment import experiment
from benchmarks.harness.server import downshift
from benchmarks.harness.settings import logits_of
from benchmarks.harness.wire import V2Binary
from downshift.models import artifact as artifacts

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.harness.check import Floats
    from benchmarks.harness.connections import Answer
    from benchmarks.harness.report import Report
    from benchmarks.harness.server import Server
    from downshift.models.artifact import Artifact

MODEL = "swapped"
KEY = {"X-API-Key": "swapping-admin-key"}
CORRUPT_EVERY = 10  # swaps
BAD = 400
POLL_SECONDS, JOIN_SECONDS = 0.1, 60.0


class Asker(threading.Thread):
    """Connections that ask until they are told to stop; counts what became of every request.

    statuses: of answers. versions: that answered. wrong: answers with other logits. lost: requests whose
    answer never came. turned_away: the same once `draining`, when the server may close a connection.
    """

    def __init__(
        self, port: int, connections: int, image: Floats, expected: Sequence[Mapping[str, Floats]]
    ) -> None:
        super().__init__(daemon=True)
        self.statuses: Counter[int] = Counter()
        self.versions: Counter[str] = Counter()
        self.wrong = self.lost = self.turned_away = 0
        self.draining = self.done = False
        self._port, self._connections, self._expected = port, connections, expected
        self._request = V2Binary(MODEL).request(image)

    @property
    def asked(self) -> int:
        """Requests that were answered."""
        return sum(self.statuses.values())

    def run(self) -> None:
        """Ask on every connection, and on a new one whenever the server has closed one."""
        with Connections[int](self._port, self._connections) as line:
            listening = True
            while not self.done:
                try:
                    while listening and line.available:
                        line.send(0, self._request)
                except OSError:  # it listens no more: nothing was sent
                    listening = not self.draining
                    self.turned_away += 1
                for _, answer in line.answers(POLL_SECONDS):
                    self._count(answer)

    def _count(self, answer: Answer | None) -> None:
        if answer is None:
            self.turned_away += self.draining
            self.lost += not self.draining
            return
        self.statuses[answer.status] += 1
        if answer.status == OK:
            head, logits = V2Binary.parts(*answer)
            said = orjson.loads(head)
            version, subnet = said["model_version"], said["parameters"]["subnet"]
            self.versions[version] += 1
            right = self._expected[(int(version) - 1) % 2][subnet]
            self.wrong += not is_right(np.frombuffer(logits, "<f4"), right)


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


def load(server: Server, status: int) -> dict[str, Any]:
    """The answer to a load of the model's file; raises `ExperimentError` unless it has that status."""
    found, answer = server.post(f"/v2/repository/models/{MODEL}/load", KEY)
    if found != status:
        raise ExperimentError(f"a load ended with status {found}, not {status}: {answer}")
    return dict(answer)


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
    pair = variants(source)
    image = np.random.default_rng(0).standard_normal((1, *pair[0].manifest.input.shape), np.float32)
    expected = [{name: logits_of(each, name, image)[0] for name in each.manifest.names} for each in pair]
    files = [artifacts.pack(each) for each in pair]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / f"{MODEL}.onnx"
        path.write_bytes(files[0])
        with downshift(path, folder, {"DOWNSHIFT_ADMIN_KEYS": KEY["X-API-Key"]}) as server:
            asker = Asker(server.port, connections, image, expected)
            asker.start()
            began, done, rolled_back, durations = time.monotonic(), 0, 0, []
            resident = server.resident_bytes
            while (done < swaps or asker.asked < requests) and time.monotonic() < began + seconds:
                if done >= swaps:
                    time.sleep(0.05)
                    continue
                if done % CORRUPT_EVERY == 1:
                    path.write_bytes(files[0][: len(files[0]) // 2])
                    load(server, BAD)
                    rolled_back += 1
                path.write_bytes(files[(done + 1) % 2])
                begin = time.monotonic()
                answer = load(server, OK)
                durations.append(time.monotonic() - begin)
                if answer["version"] != str(done + 2):
                    raise ExperimentError(f"swap {done + 1} made version {answer['version']}, not {done + 2}")
                done += 1
                if done % 10 == 0:
                    told(f"{done} swaps, {asker.asked} requests")
            seconds_taken = round(time.monotonic() - began, 1)
            before, grown = asker.statuses.copy(), server.resident_bytes - resident
            asker.draining = True
            server.stop()
            asker.done = True
            asker.join(JOIN_SECONDS)
    return {
        "requests": before.total(),
        "swaps": done,
        "seconds": seconds_taken,
        "rolled_back": rolled_back,
        "connections": connections,
        "statuses": _by_status(before),
        "versions_that_answered": len(asker.versions),
        "lost": asker.lost,
        "wrong": asker.wrong,
        "load_seconds": {"median": float(np.median(durations)), "max": max(durations)} if durations else {},
        "resident_growth_bytes": grown,
        "drain": {
            "statuses": _by_status(asker.statuses - before),
            "turned_away": asker.turned_away,
            "exit_code": server.process.returncode,
        },
    }


def _by_status(counts: Counter[int]) -> dict[str, int]:
    return {str(status): count for status, count in sorted(counts.items())}


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("artifact", type=Path, help="a model.onnx with a Gemm as its classifier")
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=550.0, help="stop after that long in any case")


def measure(chosen: Namespace, report: Report) -> None:
    """Swap, ask, drain."""
    result = swap_and_drain(
        chosen.artifact,
        swaps=chosen.swaps,
        requests=chosen.requests,
        connections=chosen.connections,
        seconds=chosen.seconds,
    )
    report.json({"model": chosen.artifact.name, **result})


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
