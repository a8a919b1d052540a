"""The access log: one JSON line per request, to standard output or to a file that supports rotation."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from downshift.server.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.server.telemetry.request_log import RequestRecord

STANDARD_OUTPUT = "-"
LONGEST = 256  # characters of a client-controlled field


class AccessLog:
    """Appends to a file and reopens it after logrotate has renamed it; `-` is standard output."""

    def __init__(self, target: str) -> None:
        """Raises `BadSetting` for a file that cannot be written."""
        self._path = None if target == STANDARD_OUTPUT else Path(target)
        self._inode: int | None = None
        try:
            self._file = self._open()
        except OSError as error:
            raise BadSetting(
                f"access log {target!r} cannot be written ({error.strerror}): choose another, or - for "
                "standard output"
            ) from None

    def __str__(self) -> str:
        return f"the access log {self._path or STANDARD_OUTPUT}"

    def write(self, records: Sequence[RequestRecord], lost: int) -> None:
        """Write one line per record, and one with the number of dropped records if there are any."""
        self._follow()
        lines = [line(each) for each in records]
        if lost:
            lines.append(orjson.dumps({"lost": lost}) + b"\n")
        rest = memoryview(b"".join(lines))
        while rest:  # unbuffered: a buffer would retry forever on a full disk
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Close the file; standard output stays open."""
        self._file.close()

    def _open(self) -> FileIO:
        if self._path is None:
            return FileIO(os.dup(sys.stdout.fileno()), "ab")
        file = FileIO(self._path, "ab")
        self._inode = self._path.stat().st_ino
        return file

    def _follow(self) -> None:
        if self._path is None:
            return
        try:
            moved = self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            moved = True
        if moved:
            before, self._file = self._file, self._open()
            before.close()


def line(ended: RequestRecord) -> bytes:
    """The request as one JSON line; fields that do not apply are null."""
    identity = ended.identity
    return orjson.dumps(
        {
            "time": datetime.fromtimestamp(ended.finished, UTC).isoformat(timespec="milliseconds"),
            "request_id": identity.request_id,
            "method": ended.method[:LONGEST],
            "path": ended.path[:LONGEST],
            "status": ended.status or None,
            "model": ended.model,
            "subnet": ended.subnet,
            "budget_ms": _ms(ended.budget),
            "queue_ms": _ms(ended.queue_seconds),
            "infer_ms": _ms(ended.infer_seconds),
            "total_ms": _ms(ended.ended - ended.began),
            "bytes_in": ended.received,
            "bytes_out": ended.sent,
            "client": ended.client,
            "trace_id": identity.trace.trace_id if identity.trace else None,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _ms(seconds: float | None) -> Any:
    return None if seconds is None else round(seconds * 1e3, 3)
