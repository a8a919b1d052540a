"""Which files have changed since they were last read; by an editor, `cp`, or Kubernetes' switched links."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from watchfiles import awatch

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

Stamp = tuple[int, int, int] | None


def stamp(path: Path) -> Stamp:
    """What differs once another file lies there: inode, size and time of change; None when none does."""
    with suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


async def disturbances(paths: Iterable[Path], moved: asyncio.Event) -> AsyncIterator[None]:
    """Yields whenever something happened in a folder of these files; ends when `moved` is set."""
    folders = {path.parent.resolve() for path in paths}
    async for _ in awatch(*folders, recursive=False, stop_event=moved):
        yield
