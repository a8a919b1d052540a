"""The engines of a race: each runs one sub-net for one batch, with its best settings."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnxruntime as ort
import torch

from benchmarks.engines.graph_in_torch import GraphModule
from benchmarks.harness.check import TOLERANCE, check
from benchmarks.harness.errors import WrongAnswer
from downshift.runtime.lowering.emit import emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.harness.check import Floats
    from downshift.runtime.lowering.graph import Graph

TOLERANCES = {"fp32": TOLERANCE, "bf16": 1e-1, "int8": 0.25}
"""Largest error of a logit by precision, as a share of the largest logit; int8 against its own QDQ model."""


class Contender(Protocol):
    """One sub-net on one engine for one batch."""

    @property
    def engine(self) -> str:
        """Its name."""
        ...

    @property
    def version(self) -> str:
        """Of the engine."""
        ...

    @property
    def sparsity(self) -> float:
        """Of the sub-net it runs."""
        ...

    def time(self, runs: int, *, warm: bool = True) -> list[float]:
        """Seconds of each run, after one that is not counted unless `warm` is False.

        Raises `WrongAnswer` if any is wrong.
        """
        ...


@dataclass(frozen=True, eq=False)
class Task:
    """What everybody computes: a sub-net, a batch, the right logits, and with how many threads.

    graph: in float32. quantized: the sub-net as QDQ model, where the task is to compute it in int8.
    """

    graph: Graph
    sparsity: float
    images: Floats
    expected: Floats
    threads: int
    quantized: bytes | None = None

    @property
    def model(self) -> bytes:
        """The sub-net as plain ONNX, one input called `input`."""
        return self.quantized or bytes(emit(self.graph).SerializeToString())

    @property
    def precision(self) -> str:
        """Of the answers that are right."""
        return "fp32" if self.quantized is None else "int8"


@dataclass(frozen=True, eq=False)
class InProcess:
    """A contender that is a function in this process."""

    engine: str
    version: str
    task: Task
    run: Callable[[Floats], Any]
    half: bool = False

    @property
    def sparsity(self) -> float:
        """Of the sub-net."""
        return self.task.sparsity

    def time(self, runs: int, *, warm: bool = True) -> list[float]:
        """See `Contender`."""
        images, seconds = self.task.images, []
        torch.set_num_threads(self.task.threads)
        if warm:
            self.run(images)
        for _ in range(runs):
            begin = time.perf_counter()
            answer = self.run(images)
            seconds.append(time.perf_counter() - begin)
            check(
                self.engine,
                np.asarray(answer),
                self.task.expected,
                TOLERANCES["bf16" if self.half else self.task.precision],
            )
        return seconds


def onnxruntime(task: Task) -> InProcess:
    """onnxruntime with spinning threads that stop when it answers, so that they do not disturb others."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(task.model, options, providers=["CPUExecutionProvider"])
    name = named("onnxruntime", task)
    return InProcess(name, ort.__version__, task, lambda images: session.run(None, {"input": images})[0])


def named(engine: str, task: Task) -> str:
    """The engine's name, its precision after it unless that is float32."""
    return engine if task.precision == "fp32" else f"{engine}-{task.precision}"


def openvino(task: Task, *, half: bool = False) -> InProcess:
    """OpenVINO compiled for exactly this batch, for latency; half: in bfloat16 what is float32."""
    import openvino as ov  # noqa: PLC0415 - an extra: whoever does not race against it needs none

    core = ov.Core()
    model = core.read_model(task.model)
    model.reshape(list(task.images.shape))
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        "INFERENCE_NUM_THREADS": task.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(model, "CPU", options).create_infer_request()
    name = "openvino-bf16" if half else named("openvino", task)
    version = ov.__version__.split("-")[0]
    return InProcess(
        name, version, task, lambda images: request.infer({0: images}, share_inputs=True)[0], half
    )


def eager_torch(task: Task, *, compiled: bool = False) -> InProcess:
    """torch on channels-last images, eager or through torch.compile."""
    torch.set_num_threads(task.threads)
    module: Callable[[torch.Tensor], torch.Tensor] = GraphModule(task.graph).eval()
    module = module.to(memory_format=torch.channels_last)  # type: ignore[attr-defined]
    if compiled:
        module = torch.compile(module, dynamic=False, mode="max-autotune-no-cudagraphs")

    def run(images: Floats) -> Floats:
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(memory_format=torch.channels_last)
            return module(batch).numpy()

    return InProcess("torch.compile" if compiled else "torch", torch.__version__, task, run)


class DeepSparse:
    """A DeepSparse process that holds any number of sub-nets."""

    def __init__(self, python: Path) -> None:
        """python: the interpreter of an environment that DeepSparse is installed in."""
        worker = Path(__file__).with_name("deepsparse_worker.py")
        self._process = subprocess.Popen(  # noqa: S603 - the caller names the interpreter
            [python, worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._folder = tempfile.TemporaryDirectory()
        self._loaded = 0

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """The worker's answer; raises `WrongAnswer` with its error."""
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"error": "it ended"}')
        if "error" in answer:
            raise WrongAnswer(f"deepsparse: {answer['error']}")
        return answer

    def load(self, task: Task) -> DeepSparseContender:
        """The task as a contender."""
        self._loaded += 1
        key = f"task{self._loaded}"
        folder = Path(self._folder.name)
        files = {name: str(folder / f"{key}-{name}.npy") for name in ("inputs", "expected")}
        np.save(files["inputs"], task.images)
        np.save(files["expected"], task.expected)
        model = folder / f"{key}.onnx"
        model.write_bytes(task.model)
        answer = self.ask({"load": key, "model": str(model), "threads": task.threads, **files})
        return DeepSparseContender(self, key, answer["version"], task.sparsity)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._folder.cleanup()


@dataclass(frozen=True, eq=False)
class DeepSparseContender:
    """One sub-net in a `DeepSparse` process, which times and checks it itself."""

    process: DeepSparse
    key: str
    version: str
    sparsity: float
    engine: str = "deepsparse"

    def time(self, runs: int, *, warm: bool = True) -> list[float]:
        """See `Contender`."""
        command = {"time": self.key, "runs": runs, "warm": warm, "tolerance": TOLERANCE}
        seconds: list[float] = self.process.ask(command)["seconds"]
        return seconds
