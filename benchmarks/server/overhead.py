"""What our server adds to the program it runs: one connection, batch 1, the V2 protocol's binary extension.

In turn (A B A B): the raw program in this process, our server asked for the same sub-net, and a bare
uvicorn + Starlette that reads the same body and answers as many bytes. The overhead is a latency less the raw
program's median. Rows go to overhead.csv, one for each round; earlier ones of the network are replaced.

    python -m benchmarks.server.overhead downshift/models/zoo/cifar10-resnet20.onnx
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import textwrap
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness.client import Client, V2Binary, WrongAnswer
from benchmarks.harness.quiet import disturbance, usage
from benchmarks.harness.report import RESULTS
from benchmarks.harness.settings import served
from benchmarks.harness.stacks import MODEL, SERVERS, NotServing, Ours, free_port, serving
from downshift.models.errors import ModelsError
from downshift.runtime.machine import this_machine
from downshift.runtime.preparation import Setup, prepare
from downshift.runtime.profiling.profile_cache import default_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.harness.client import Floats
    from benchmarks.harness.settings import Served
    from downshift.runtime.engines.engine import Program

GOALS = {"p50": 0.5e-3, "p99": 1.5e-3, "ratio": 1.3}
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


def rounds(what: Served, subnet: str, count: int, seconds: float) -> list[Round]:
    """The measurements; raises `NotServing` and `WrongAnswer`."""
    setting, ours, wire = (
        what.setting,
        Ours("Downshift", dense=False),
        V2Binary(MODEL, headers={"X-Subnet": subnet}),
    )
    asking = what.client(wire)
    port, echo_port = free_port(), free_port()
    environment = ours.environment(setting, port)
    with serving(
        ours.command(setting, port), port, asking, setting.folder / "overhead.log", environment
    ) as server:
        size = asking.run(port, 1, 0.0).size
        echo = [sys.executable, str(SERVERS / "echo.py"), str(echo_port), str(size)]
        echoed = Client(Echo(wire, size), what.images, {"": np.tile(RIGHT, (len(what.images), 1))})
        prepared = prepare(setting.artifact, Setup(setting.threads, cache_dir=setting.folder))
        program = prepared.programs.get(subnet, prepared.profile[subnet].engine(1))
        with serving(echo, echo_port, echoed, setting.folder / "echo.log", {}):
            done = []
            for turn in range(count):
                asking.run(port, 1, WARM_SECONDS)
                begin, cpu = usage(), server.cpu()
                mine = asking.run(port, 1, seconds)
                used = (server.cpu() - cpu) / mine.seconds
                echoed.run(echo_port, 1, WARM_SECONDS)
                bare = echoed.run(echo_port, 1, seconds)
                alone = raw(program, what.images, seconds / 2)
                done.append(
                    Round(
                        what.name,
                        subnet,
                        turn,
                        *alone,
                        mine.quantile(0.5),
                        mine.quantile(0.99),
                        bare.quantile(0.5),
                        bare.quantile(0.99),
                        len(mine.latencies),
                        used,
                        mine.cpu / mine.seconds,
                        disturbance(begin),
                    )
                )
                print(line(done[-1]), flush=True)
    return done


def line(one: Round) -> str:
    """One round for the terminal, in microseconds."""
    return (
        f"raw {one.raw_p50 * 1e6:6.0f}  ours {one.ours_p50 * 1e6:6.0f} p99 {one.ours_p99 * 1e6:6.0f}  "
        f"echo {one.echo_p50 * 1e6:5.0f} p99 {one.echo_p99 * 1e6:5.0f}  "
        f"overhead {_p50(one) * 1e6:5.0f} p99 {(one.ours_p99 - one.raw_p50) * 1e6:5.0f} us  "
        f"cores {one.server_cpu:.2f} + {one.client_cpu:.2f}  others {one.others:.0%}"
    )


def page(done: Sequence[Round]) -> str:
    """Medians over the rounds and the goals, as Markdown."""
    machine = this_machine(0, {})
    lines = [
        "# What serving adds to the program",
        "",
        *textwrap.wrap(
            f"{machine.cpu}, {machine.cores} cores, shared by server and client; one connection, batch 1, V2 "
            "binary, one thread for inference. Microseconds, medians of the rounds (A B A B); in brackets "
            "the best round. Every answer was checked. Echo: bare uvicorn + Starlette that reads the same "
            "body and answers as many bytes. Overhead: our latency less the raw program's median. Written by "
            "`make bench-server`; every round: `overhead.csv`.",
            100,
        ),
        "",
        "| network | sub-net | raw p50 | our p50 | our p99 | overhead p50 | goal | overhead p99 | goal "
        "| echo p50 | echo p99 | overhead / echo | goal |",
        "|" + "---|" * 13,
    ]
    for network, subnet in dict.fromkeys((one.network, one.subnet) for one in done):
        own = [one for one in done if (one.network, one.subnet) == (network, subnet)]
        cells = [network, subnet]
        cells += [_both([value(one) for one in own]) for value in (_raw, _ours_p50, _ours_p99, _p50)]
        cells += [f"{GOALS['p50'] * 1e6:.0f}", _both([one.ours_p99 - one.raw_p50 for one in own])]
        cells += [f"{GOALS['p99'] * 1e6:.0f}", _both([one.echo_p50 for one in own])]
        cells += [_both([one.echo_p99 for one in own])]
        cells += [f"{statistics.median(_p50(one) / one.echo_p50 for one in own):.2f}", f"{GOALS['ratio']}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _raw(one: Round) -> float:
    return one.raw_p50


def _ours_p50(one: Round) -> float:
    return one.ours_p50


def _ours_p99(one: Round) -> float:
    return one.ours_p99


def _p50(one: Round) -> float:
    return one.ours_p50 - one.raw_p50


def _both(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1e6:.0f} ({min(seconds) * 1e6:.0f})"


def add(folder: Path, done: Sequence[Round]) -> str:
    """Put the rounds in place of the same network's and sub-net's, write the table anew, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "overhead.csv"
    measured = {(one.network, one.subnet) for one in done}
    everything = [one for one in load(path) if (one.network, one.subnet) not in measured] + list(done)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Round))
        for one in everything:
            writer.writerow(
                f"{value:.6g}" if isinstance(value, float) else value for value in asdict(one).values()
            )
    text = page(everything)
    (folder / "overhead.md").write_text(text, encoding="utf-8")
    return text


def load(path: Path) -> list[Round]:
    """The rounds in the file; none where there is no file."""
    if not path.exists():
        return []
    kinds = {"str": str, "int": int, "float": float}
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Round(**{field.name: kinds[str(field.type)](each[field.name]) for field in fields(Round)})
            for each in csv.DictReader(file)
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.server.overhead",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", help="an artifact, or a network to make a synthetic one of")
    parser.add_argument("--subnet", help="by default the densest")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each part of a round")
    parser.add_argument("--threads", type=int, default=1, help="of one inference")
    parser.add_argument("--cache", type=Path, default=default_folder() / "bench-server")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    try:
        what = served(chosen.network, chosen.cache, Path(), chosen.threads)
        done = rounds(what, chosen.subnet or what.setting.densest, chosen.rounds, chosen.seconds)
    except (ModelsError, NotServing, WrongAnswer) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(add(chosen.out, done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
