"""The servers that are compared: how each is started, told what to serve, and asked."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchmarks.harness.server import serving
from benchmarks.harness.settings import MODEL
from benchmarks.harness.wire import NestedJson, RawBytes, V2Binary, V2Json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from benchmarks.harness.client import Client
    from benchmarks.harness.server import Server
    from benchmarks.harness.settings import Setting
    from benchmarks.harness.wire import Wire

SCRIPTS = Path(__file__).parents[1] / "server" / "stacks"
BUDGET_MS = 50
"""What a request grants where our server may choose the sub-net."""


class Stack(Protocol):
    """One way to serve the model."""

    @property
    def name(self) -> str:
        """What the tables call it."""
        ...

    def wire(self, setting: Setting) -> Wire:
        """How it is asked."""
        ...

    def command(self, setting: Setting, port: int) -> list[str]:
        """What starts it."""
        ...

    def environment(self, setting: Setting, port: int) -> Mapping[str, str]:
        """Its environment variables."""
        ...

    def version(self) -> str:
        """Of what is installed."""
        ...


@dataclass(frozen=True)
class Rival:
    """Another server on onnxruntime.

    package: the distribution whose version counts, and the name of its environment. environments: folder of
    all rivals' environments.
    """

    environments: Path
    name: str
    package: str
    asked: Wire = field(default_factory=RawBytes)

    def wire(self, setting: Setting) -> Wire:  # noqa: ARG002 - the protocol's
        """See `Stack`."""
        return self.asked

    def command(self, setting: Setting, port: int) -> list[str]:  # noqa: ARG002 - the protocol's
        """See `Stack`."""
        return [str(self._python), str(SCRIPTS / f"with_{self.package}.py")]

    def environment(self, setting: Setting, port: int) -> Mapping[str, str]:
        """See `Stack`."""
        return {
            "BENCH_MODEL": str(setting.dense),
            "BENCH_PORT": str(port),
            "BENCH_THREADS": str(setting.threads),
            "PYTHONPATH": str(SCRIPTS),
        }

    def version(self) -> str:
        """See `Stack`."""
        show = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        command = [str(self._python), "-c", show]
        asked = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - a benchmark's
        return asked.stdout.strip()

    @property
    def _python(self) -> Path:
        return self.environments / self.package / "bin" / "python"


@dataclass(frozen=True)
class Ours:
    """Our server. dense: only onnxruntime, always the densest sub-net; else whatever the budget allows."""

    name: str
    dense: bool = False
    json: bool = False

    def wire(self, setting: Setting) -> Wire:
        """See `Stack`."""
        headers = {"X-Subnet": setting.densest} if self.dense else {"X-Latency-Budget-Ms": str(BUDGET_MS)}
        return (V2Json if self.json else V2Binary)(MODEL, headers=headers)

    def command(self, setting: Setting, port: int) -> list[str]:
        """See `Stack`."""
        return [sys.executable, "-m", "downshift", "serve", str(setting.path), "--port", str(port)]

    def environment(self, setting: Setting, port: int) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's
        """See `Stack`."""
        engines = {"DOWNSHIFT_ENGINES": '["onnxruntime"]'} if self.dense else {}
        told = {"DOWNSHIFT_THREADS": str(setting.threads), "DOWNSHIFT_CACHE_DIR": str(setting.folder)}
        return told | engines

    def version(self) -> str:
        """See `Stack`."""
        return version("downshift")


OURS = (
    Ours("Downshift, dense", dense=True),
    Ours("Downshift, dense, JSON", dense=True, json=True),
    Ours("Downshift"),
)


def rivals(environments: Path) -> tuple[Rival, ...]:
    """All others, installed in environments below that folder."""
    return (
        Rival(environments, "LitServe", "litserve", RawBytes("/predict")),
        Rival(environments, "MLServer", "mlserver", V2Json(MODEL)),
        Rival(environments, "BentoML", "bentoml", NestedJson()),
        Rival(environments, "Ray Serve", "ray"),
        Rival(environments, "Mosec", "mosec", RawBytes("/inference")),
        Rival(environments, "Starlette", "starlette"),
    )


def started(stack: Stack, setting: Setting, port: int, client: Client) -> AbstractContextManager[Server]:
    """The server of that stack, from its first right answer to its end; raises `NotServing`."""
    return serving(
        stack.command(setting, port),
        setting.folder / f"{stack.name.lower().replace(' ', '-').replace(',', '')}.log",
        port=port,
        ready=lambda at: client.closed_loop(at, 1, 0.0).latencies,
        environment=stack.environment(setting, port),
    )
