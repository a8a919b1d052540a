"""What does gRPC cost beside HTTP and beside a bare grpc.aio echo? One connection, batch 1, raw contents.

    python -m benchmarks.server.grpc_overhead downshift/models/zoo/cifar10-resnet20.onnx

In turn (A B A B): the raw program in this process, our server over HTTP (V2 binary) and over gRPC, asked for
the same sub-net, and a bare grpc.aio server that answers as many bytes. gRPC and its echo are asked by the
same client, grpcio's synchronous one, whose own cost is in both. Rows go to grpc_overhead.csv, one for each
round.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from benchmarks.harness.check import check
from benchmarks.harness.connections import HOST
from benchmarks.harness.errors import NotServing, WrongAnswer
from benchmarks.harness.experiment import experiment
from benchmarks.harness.quiet import disturbance, usage
from benchmarks.harness.report import table
from benchmarks.harness.server import free_port, serving
from benchmarks.harness.settings import MODEL, prepare
from benchmarks.harness.stacks import SCRIPTS, Ours, started
from benchmarks.harness.wire import DATATYPES, V2Binary
from benchmarks.server.overhead import microseconds, options, raw, raw_program
from downshift.server.grpc import inference_pb2 as pb

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.harness.check import Floats
    from benchmarks.harness.report import Report
    from benchmarks.harness.settings import Setting

METHOD = "/inference.GRPCInferenceService/ModelInfer"
WARM_SECONDS = 0.3
READY_SECONDS = 30.0


@dataclass(frozen=True)
class Round:
    """Seconds: of the raw program, of answers over HTTP and gRPC and of the echo's.

    answers: over gRPC. others: share of the machine.
    """

    network: str
    subnet: str
    turn: int
    raw_p50: float
    http_p50: float
    http_p99: float
    grpc_p50: float
    grpc_p99: float
    echo_p50: float
    echo_p99: float
    answers: int
    others: float


@dataclass(frozen=True)
class WithGrpc(Ours):
    """Our server with a gRPC port."""

    grpc_port: int = 0

    def environment(self, setting: Setting, port: int) -> Mapping[str, str]:
        """See `Stack`."""
        return {**super().environment(setting, port), "DOWNSHIFT_GRPC_PORT": str(self.grpc_port)}


class GrpcClient:
    """Asks on one connection, and checks every answer that it has not seen before."""

    def __init__(
        self,
        port: int,
        images: Floats,
        input_name: str,
        logits: Callable[[bytes], bytes],
        right: Callable[[int, bytes], None],
    ) -> None:
        """logits: of a message. right: raises `WrongAnswer` unless they are those of that image."""
        self._channel = grpc.insecure_channel(f"{HOST}:{port}")
        self._call: Any = self._channel.unary_unary(METHOD)
        self._logits, self._right, self._seen = logits, right, set[tuple[int, bytes]]()
        self._requests = [_request(images[index : index + 1], input_name) for index in range(len(images))]

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def wait(self) -> None:
        """Return when the server listens; raises `NotServing`."""
        try:
            grpc.channel_ready_future(self._channel).result(READY_SECONDS)
        except grpc.FutureTimeoutError:
            raise NotServing("nobody speaks gRPC at the port") from None

    def size(self, metadata: Sequence[tuple[str, str]]) -> int:
        """Bytes of an answer."""
        return len(self._call(self._requests[0], metadata=metadata))

    def latencies(self, seconds: float, metadata: Sequence[tuple[str, str]] = ()) -> list[float]:
        """Seconds of every answer, from one core like the HTTP client's; raises `WrongAnswer`."""
        cores, taken = os.sched_getaffinity(0), []
        os.sched_setaffinity(0, {max(cores)})
        try:
            end, index = time.perf_counter() + seconds, 0
            while (begin := time.perf_counter()) < end:
                answer = self._call(self._requests[index], metadata=metadata)
                taken.append(time.perf_counter() - begin)
                self._check(index, answer)
                index = (index + 1) % len(self._requests)
        finally:
            os.sched_setaffinity(0, cores)
        return taken

    def _check(self, index: int, answer: bytes) -> None:
        key = index, self._logits(answer)
        if key not in self._seen:
            self._right(*key)
            self._seen.add(key)


def _request(image: Floats, input_name: str) -> bytes:
    tensor = pb.ModelInferRequest.InferInputTensor(
        name=input_name, datatype=DATATYPES[image.dtype.name], shape=image.shape
    )
    asked = pb.ModelInferRequest(model_name=MODEL, inputs=[tensor], raw_input_contents=[image.tobytes()])
    return bytes(asked.SerializeToString())


def rounds(setting: Setting, subnet: str, count: int, seconds: float) -> Iterator[Round]:
    """One measurement after the other; raises `NotServing` and `WrongAnswer`."""
    port, grpc_port, echo_port = free_port(), free_port(), free_port()
    pinned = [("x-subnet", subnet)]
    http = setting.client(V2Binary(MODEL, headers=dict(pinned)))
    name = setting.artifact.manifest.input.name

    def logits(message: bytes) -> bytes:
        return bytes(pb.ModelInferResponse.FromString(message).raw_output_contents[0])

    def right(index: int, found: bytes) -> None:
        check(f"sub-net {subnet}", np.frombuffer(found, "<f4"), setting.logits[subnet][index])

    with started(WithGrpc("Downshift", grpc_port=grpc_port), setting, port, http):
        over_grpc = GrpcClient(grpc_port, setting.images, name, logits, right)
        over_grpc.wait()
        size = over_grpc.size(pinned)

        def as_long(_index: int, message: bytes) -> None:
            if message != bytes(size):
                raise WrongAnswer(f"{len(message)} bytes, not {size}")

        program = raw_program(setting, subnet)
        command = [sys.executable, str(SCRIPTS / "grpc_echo.py"), str(echo_port), str(size)]
        with serving(command, setting.folder / "grpc-echo.log", port=echo_port):
            echo = GrpcClient(echo_port, setting.images, name, bytes, as_long)
            echo.wait()
            for turn in range(count):
                begin = usage()
                http.closed_loop(port, 1, WARM_SECONDS)
                mine = http.closed_loop(port, 1, seconds)
                over_grpc.latencies(WARM_SECONDS, pinned)
                called = over_grpc.latencies(seconds, pinned)
                echo.latencies(WARM_SECONDS)
                echoed = echo.latencies(seconds)
                called_p50, called_p99 = np.quantile(called, (0.5, 0.99)).tolist()
                echoed_p50, echoed_p99 = np.quantile(echoed, (0.5, 0.99)).tolist()
                yield Round(
                    setting.name, subnet, turn, raw(program, setting.images, seconds / 2)[0],
                    mine.quantile(0.5), mine.quantile(0.99), called_p50, called_p99,
                    echoed_p50, echoed_p99, len(called), disturbance(begin),
                )  # fmt: skip
            echo.close()
        over_grpc.close()


def page(done: Sequence[Round]) -> list[str]:
    """Medians over the rounds, in brackets the best round, in microseconds, as a table."""
    figures = ("raw_p50", "http_p50", "http_p99", "grpc_p50", "grpc_p99", "echo_p50", "echo_p99")
    rows = []
    for network, subnet in dict.fromkeys((one.network, one.subnet) for one in done):
        own = [one for one in done if (one.network, one.subnet) == (network, subnet)]
        ratio = statistics.median((one.grpc_p50 - one.raw_p50) / one.echo_p50 for one in own)
        cells = [microseconds(getattr(one, figure) for one in own) for figure in figures]
        rows.append([network, subnet, *cells, f"{ratio:.2f}"])
    head = ["network", "sub-net", *(figure.replace("_", " ") for figure in figures), "gRPC overhead / echo"]
    return table(head, rows)


def measure(chosen: Namespace, report: Report) -> None:
    """Every round, then the table of all rounds in the file."""
    setting, done = prepare(chosen.network, chosen.cache, chosen.threads), []
    for one in rounds(setting, chosen.subnet or setting.densest, chosen.rounds, chosen.seconds):
        print(f"round {one.turn}: http {one.http_p50 * 1e6:.0f}  grpc {one.grpc_p50 * 1e6:.0f}  "
              f"echo {one.echo_p50 * 1e6:.0f} us  others {one.others:.0%}", flush=True)  # fmt: skip
        done.append(one)
    report.markdown(
        "What gRPC costs beside HTTP",
        "One connection, batch 1, raw contents; server and client share the cores. Microseconds, medians of "
        "the rounds (A B A B); in brackets the best round. Every answer was checked. Echo: a bare grpc.aio "
        "server that answers as many bytes; gRPC and echo are asked by grpcio's synchronous client, HTTP by "
        "the harness's. Every round: `grpc_overhead.csv`.",
        page(report.csv(done, Round, lambda one: (one.network, one.subnet))),
    )


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
