"""What does serving add to the program it runs? One connection, batch 1, the V2 binary extension.

    python -m benchmarks.server.overhead downshift/models/zoo/cifar10-resnet20.onnx

In turn (A B A B): the raw program in this process, our server asked for the same sub-net, and a bare
uvicorn + Starlette that reads the same body and answers as many bytes. The overhead is a latency less the raw
program's median. Rows go to overhead.csv, one for each round; earlier ones of the network are replaced.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness.client import Client
from benchmarks.harness.errors import WrongAnswer
from benchmarks.harness.experiment import experiment, served_options
from benchmarks.harness.quiet import disturbance, usage
from benchmarks.harness.report import table
from benchmarks.harness.server import free_port, serving
from benchmarks.harness.settings import MODEL, prepare
from benchmarks.harness.stacks import SCRIPTS, Ours, started
from benchmarks.harness.wire import V2Binary
from downshift.runtime import preparation

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Iterator, Sequence

    from benchmarks.harness.check import Floats
    from benchmarks.harness.report import Report
    from benchmarks.harness.settings import Setting
    from downshift.runtime.engines.engine import Program

GOALS = {"p50": 500, "p99": 1500, "ratio": 1.3}  # microseconds; of the echo's latency
WARM_SECONDS = 0.3
RIGHT = np.ones(1, np.float32)


@dataclass(frozen=True)
class Round:
    """Seconds: of the raw program, of our server's answers, of the echo's; others: share of the machine."""

    network: str
    subnet: str
    turn: int
    raw_p50: float
    raw_p99: float
    ours_p50: float
    ours_p99: float
    echo_p50: float
    echo_p99: float
    answers: int
    server_cpu: float
    client_cpu: float
    others: float

    @property
    def overhead_p50(self) -> float:
        """Seconds that serving adds to the median of the program."""
        return self.ours_p50 - self.raw_p50

    @property
    def overhead_p99(self) -> float:
        """Seconds from the program's median to the server's 99th percentile."""
        return self.ours_p99 - self.raw_p50


class Echo:
    """Any image's request as our server gets it; the answer must have the right number of zeros."""

    def __init__(self, wire: V2Binary, size: int) -> None:
        self._wire = wire
        self._right = bytes(size)

    def request(self, image: Floats) -> bytes:
        """See `Wire`."""
        return self._wire.request(image)

    def logits(self, head: bytes, body: bytes) -> bytes:  # noqa: ARG002 - the protocol's
        """The one right logit, when all bytes are there."""
        if body != self._right:
            raise WrongAnswer(f"{len(body)} bytes, not {len(self._right)}")
        return RIGHT.tobytes()


def raw_program(setting: Setting, subnet: str) -> Program:
    """The program that serves the sub-net at batch 1, in this process."""
    prepared = preparation.prepare(setting.path, preparation.Setup(setting.threads, cache_dir=setting.folder))
    return prepared.programs.get(subnet, prepared.profile[subnet].engine(1))


def raw(program: Program, images: Floats, seconds: float) -> tuple[float, float]:
    """p50 and p99 of the program alone."""
    end, taken = time.perf_counter() + seconds, []
    while time.perf_counter() < end:
        for index in range(len(images)):
            begin = time.perf_counter()
            program.run(images[index : index + 1])
            taken.append(time.perf_counter() - begin)
    p50, p99 = np.quantile(taken, (0.5, 0.99)).tolist()
    return p50, p99


def rounds(setting: Setting, subnet: str, count: int, seconds: float) -> Iterator[Round]:
    """One measurement after the other; raises `NotServing` and `WrongAnswer`."""
    wire, port, echo_port = V2Binary(MODEL, headers={"X-Subnet": subnet}), free_port(), free_port()
    asking = setting.client(wire)
    with started(Ours("Downshift"), setting, port, asking) as server:
        size = asking.closed_loop(port, 1, 0.0).size
        echo = [sys.executable, str(SCRIPTS / "echo.py"), str(echo_port), str(size)]
        echoed = Client(Echo(wire, size), setting.images, {"": np.tile(RIGHT, (len(setting.images), 1))})
        program = raw_program(setting, subnet)
        with serving(
            echo, setting.folder / "echo.log", port=echo_port, ready=lambda at: echoed.closed_loop(at, 1, 0.0)
        ):
            for turn in range(count):
                asking.closed_loop(port, 1, WARM_SECONDS)
                begin, cpu = usage(), server.cpu_seconds
                mine = asking.closed_loop(port, 1, seconds)
                used = (server.cpu_seconds - cpu) / mine.seconds
                echoed.closed_loop(echo_port, 1, WARM_SECONDS)
                bare = echoed.closed_loop(echo_port, 1, seconds)
                yield Round(
                    setting.name, subnet, turn, *raw(program, setting.images, seconds / 2),
                    mine.quantile(0.5), mine.quantile(0.99), bare.quantile(0.5), bare.quantile(0.99),
                    len(mine.latencies), used, mine.cpu / mine.seconds, disturbance(begin),
                )  # fmt: skip


def line(one: Round) -> str:
    """One round for the terminal, in microseconds."""
    return (
        f"raw {one.raw_p50 * 1e6:6.0f}  ours {one.ours_p50 * 1e6:6.0f} p99 {one.ours_p99 * 1e6:6.0f}  "
        f"echo {one.echo_p50 * 1e6:5.0f} p99 {one.echo_p99 * 1e6:5.0f}  "
        f"overhead {one.overhead_p50 * 1e6:5.0f} p99 {one.overhead_p99 * 1e6:5.0f} us  "
        f"cores {one.server_cpu:.2f} + {one.client_cpu:.2f}  others {one.others:.0%}"
    )


def microseconds(rounds: Iterable[float]) -> str:
    """The median of seconds and, in brackets, the least, both in microseconds."""
    values = [seconds * 1e6 for seconds in rounds]
    return f"{statistics.median(values):.0f} ({min(values):.0f})"


def page(done: Sequence[Round]) -> list[str]:
    """Medians over the rounds, in brackets the best round, and the goals, as a table."""
    head = ["network", "sub-net", "raw p50", "our p50", "our p99", "overhead p50", "goal", "overhead p99",
            "goal", "echo p50", "echo p99", "overhead / echo", "goal"]  # fmt: skip
    rows = []
    for network, subnet in dict.fromkeys((one.network, one.subnet) for one in done):
        own = [one for one in done if (one.network, one.subnet) == (network, subnet)]

        def both(figure: str, own: Sequence[Round] = own) -> str:
            return microseconds(getattr(one, figure) for one in own)

        ratio = statistics.median(one.overhead_p50 / one.echo_p50 for one in own)
        rows.append(
            [
                *(network, subnet, both("raw_p50"), both("ours_p50"), both("ours_p99")),
                *(both("overhead_p50"), f"{GOALS['p50']}", both("overhead_p99"), f"{GOALS['p99']}"),
                *(both("echo_p50"), both("echo_p99"), f"{ratio:.2f}", f"{GOALS['ratio']}"),
            ]
        )
    return table(head, rows)


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    served_options(parser)
    parser.add_argument("--subnet", help="by default the densest")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each part of a round")


def measure(chosen: Namespace, report: Report) -> None:
    """Every round, then the table of all rounds in the file."""
    setting, done = prepare(chosen.network, chosen.cache, chosen.threads), []
    for one in rounds(setting, chosen.subnet or setting.densest, chosen.rounds, chosen.seconds):
        print(line(one), flush=True)
        done.append(one)
    report.markdown(
        "What serving adds to the program",
        "One connection, batch 1, V2 binary; server and client share the cores. Microseconds, medians of the "
        "rounds (A B A B); in brackets the best round. Every answer was checked. Echo: bare uvicorn + "
        "Starlette that reads the same body and answers as many bytes. Overhead: our latency less the "
        "raw program's median. Every round: `overhead.csv`.",
        page(report.csv(done, Round, lambda one: (one.network, one.subnet))),
    )


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
