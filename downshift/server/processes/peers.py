"""What the worker processes ask of each other, over Unix sockets in a folder that is theirs alone."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from downshift.server.connection.probe import LIVE
from downshift.server.errors import BadSetting
from downshift.server.telemetry.exposition import OPENMETRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

TIMEOUT_SECONDS = 2.0  # of a question to a worker on this machine
LONGEST_FOLDER = 90  # bytes; Linux has 108 for a socket's path


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

    def metrics(self, without: int) -> Iterator[tuple[int, list[Metric] | None]]:
        """Each worker but that one, and its own metrics; None where it does not answer."""
        for index in range(self.workers):
            if index != without:
                text = self._get(index, "/metrics")
                yield index, None if text is None else _families(text)

    def _path(self, index: int) -> Path:
        return Path(self.folder, f"{index}.sock")

    def _get(self, index: int, resource: str) -> str | None:
        connection = _UnixConnection(self._path(index))
        try:
            connection.request("GET", resource, headers={"Accept": OPENMETRICS.media_type})
            response = connection.getresponse()
            return response.read().decode() if response.status == HTTPStatus.OK else None
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
        folder = TemporaryDirectory(prefix="downshift-")
    except OSError as error:
        raise BadSetting(
            f"the workers' sockets need a folder, and there can be none ({error.strerror or error}): "
            "set TMPDIR to a folder that can be written"
        ) from None
    with folder as path:
        if len(path) > LONGEST_FOLDER:
            raise BadSetting(f"TMPDIR {path} is too long for the workers' sockets: name a shorter one")
        yield path


def _families(text: str) -> list[Metric]:
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("worker", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
