"""Detects files that changed since they were last read: rewritten, replaced, or a Kubernetes symlink swap."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from watchfiles import awatch

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

Fingerprint = tuple[int, int, int] | None


def fingerprint(path: Path) -> Fingerprint:
    """Inode, size and modification time of a file, which differ once it is replaced; None without one."""
    with suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


async def file_changes(paths: Iterable[Path], stop: asyncio.Event) -> AsyncIterator[None]:
    """Yields whenever something changed in a folder of these files; ends when `stop` is set."""
    folders = {path.parent.resolve() for path in paths}
    async for _ in awatch(*folders, recursive=False, stop_event=stop):
        yield
