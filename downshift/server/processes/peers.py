"""What the worker processes ask of each other, over Unix sockets in a folder that is theirs alone."""

from __future__ import annotations

import fcntl
import socket
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from downshift.server.connection.probe import LIVE
from downshift.server.errors import BadSetting
from downshift.server.processes.last_told import LastTold, parsed
from downshift.server.telemetry.exposition import OPENMETRICS
from downshift.server.telemetry.totals import Told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

TIMEOUT_SECONDS = 2.0  # of a question to a worker on this machine
LONGEST_FOLDER = 90  # bytes; Linux has 108 for a socket's path
_CREDENTIALS = struct.Struct("3i")  # process, user, group: SO_PEERCRED of unix(7)


@dataclass(frozen=True)
class Peers:
    """The workers whose sockets lie in this folder. workers: how many there are."""

    folder: str
    workers: int

    def listen(self, index: int) -> socket.socket:
        """The socket on which that worker listens to the others; one that died leaves its file behind."""
        path = self._path(index)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen()
        return listener

    def alive(self, index: int) -> bool:
        """It says that it lives."""
        return self._get(index, LIVE) is not None

    def told(self) -> Told:
        """The metrics of every worker now, and the counters of processes that do not answer any more."""
        with self.exclusive("metrics"):
            now: dict[int, list[Metric] | None] = {}
            last, answering = LastTold(Path(self.folder)), set()
            for index in range(self.workers):
                answer, now[index] = self._get(index, "/metrics"), None
                if answer is not None:
                    process, text = answer
                    last.keep(process, text)
                    answering.add(process)
                    now[index] = parsed(text)
            return Told(now, last.of_others(answering))

    @contextmanager
    def exclusive(self, purpose: str) -> Iterator[None]:
        """Within, no other worker is, for the same purpose; one that dies leaves."""
        with Path(self.folder, f"{purpose}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _path(self, index: int) -> Path:
        return Path(self.folder, f"{index}.sock")

    def _get(self, index: int, resource: str) -> tuple[int, str] | None:
        """The process that answers, and its answer; None without one."""
        connection = _UnixConnection(self._path(index))
        try:
            connection.request("GET", resource, headers={"Accept": OPENMETRICS.media_type})
            process = connection.process
            response = connection.getresponse()
            return (process, response.read().decode()) if response.status == HTTPStatus.OK else None
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()


@contextmanager
def peers_folder() -> Iterator[str]:
    """A folder for the workers' sockets, which only this user may enter; gone on leaving.

    Raises `BadSetting` where there can be none.
    """
    try:
        folder = TemporaryDirectory(prefix="downshift-", ignore_cleanup_errors=True)
    except OSError as error:
        raise BadSetting(
            f"the workers' sockets need a folder, and there can be none ({error.strerror or error}): "
            "set TMPDIR to a folder that can be written"
        ) from None
    with folder as path:
        if len(path) > LONGEST_FOLDER:
            raise BadSetting(f"TMPDIR {path} is too long for the workers' sockets: name a shorter one")
        yield path


class _UnixConnection(HTTPConnection):
    """process: who listens at its other end."""

    def __init__(self, path: Path) -> None:
        super().__init__("worker", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    @property
    def process(self) -> int:
        packed = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(packed)[0])
