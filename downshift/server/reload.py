"""Hot reload: keys and certificates on file changes, and together with the models on SIGHUP."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from downshift.server.repository.watching import fingerprint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from downshift.server.repository.watching import Fingerprint

log = logging.getLogger("downshift.server")

POLL_SECONDS = 1.0  # polling, as inotify misses network file systems and Kubernetes' symlink swaps


@dataclass
class Watched:
    """Files loaded together; `reload` reads them again, or raises and keeps the previous content."""

    name: str
    files: tuple[Path, ...]
    reload: Callable[[], None]
    seen: tuple[Fingerprint, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.seen = self.now

    @property
    def now(self) -> tuple[Fingerprint, ...]:
        """Fingerprints of the files as they are now."""
        return tuple(map(fingerprint, self.files))


class Reloader:
    """Polls files once a second; on a failed reload it logs the error and keeps the previous content."""

    def __init__(self) -> None:
        self._watched: list[Watched] = []
        self._requested = False

    def watch(self, name: str, files: Iterable[Path | None], reload: Callable[[], None]) -> None:
        """Call `reload` whenever one of the files changes; None entries are skipped."""
        present = tuple(file for file in files if file is not None)
        if present:
            self._watched.append(Watched(name, present, reload))

    def request(self) -> None:
        """Reload everything at the next poll; safe to call from a signal handler."""
        self._requested = True

    async def run(self, models: Callable[[], Awaitable[None]] | None = None) -> None:
        """Poll until cancelled. models: reloads changed artifacts after a `request`."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            requested, self._requested = self._requested, False
            await asyncio.to_thread(self.poll, everything=requested)
            if requested and models is not None:
                try:
                    await models()
                except Exception:
                    log.exception("models could not be reloaded")

    def poll(self, *, everything: bool = False) -> None:
        """Reload what has changed, or everything; raises nothing."""
        for each in self._watched:
            now = each.now
            if now == each.seen and not everything:
                continue
            each.seen = now
            try:
                each.reload()
            except Exception as error:  # noqa: BLE001  the previous content stays in use
                log.error("%s not reloaded, the old content stays in use: %s", each.name, error)
            else:
                log.warning("%s reloaded", each.name)
