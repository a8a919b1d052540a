"""`downshift serve` as a process of its own, into which faults can be planted, and which can be killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

START = "import sys; from downshift.cli.main import app; app(sys.argv[1:])"


class ServerProcess:
    """A server on a free port: ready when the block is entered, killed when it is left.

    url: where it answers. process: to signal and to wait for.
    """

    def __init__(
        self, model: Path, settings: Mapping[str, str], planted: str = "", more: Sequence[Path] = ()
    ) -> None:
        """settings: environment variables. planted: Python that runs before anything else in the process.

        more: models that are served, too. Cache and log are kept beside the model.
        """
        self._log = model.with_name("server.log")
        models = map(str, (model, *more))
        self._command = [sys.executable, "-c", f"{planted}\n{START}", "serve", *models, "--port", "0"]
        cache = {"DOWNSHIFT_CACHE_DIR": str(model.with_name("cache"))}
        self._environment = {**os.environ, **cache, **settings}

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, env=self._environment, text=True
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.match(r"Open:\s+(\S+)", line):
                self.url = found[1]
                return self
        raise AssertionError(f"the server ended: {self._log.read_text(encoding='utf-8')[-2000:]}")

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> str:
        """Ask it to end, wait until it has, and return its log."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=120)
        return self._log.read_text(encoding="utf-8")
