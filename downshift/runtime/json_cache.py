"""Results of measurements on disk, as JSON files that are found by what they depend on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from downshift.models.atomic import write_atomically
from downshift.runtime.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

T = TypeVar("T")

VARIABLE = "DOWNSHIFT_CACHE_DIR"


def default_folder() -> Path | None:
    """$DOWNSHIFT_CACHE_DIR, else $XDG_CACHE_HOME/downshift, else ~/.cache/downshift.

    None for a user without a home directory, such as a container's user id that is not in /etc/passwd.
    """
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "downshift"
    try:
        return Path.home() / ".cache" / "downshift"
    except RuntimeError:
        return None


class JsonCache:
    """JSON documents in one folder, each under a digest of its key. It never fails its user.

    A file that cannot be read counts as absent. Where nothing can be stored - no folder, a read-only file
    system, a full disk - everything is measured again at the next start, which is logged once.
    """

    def __init__(self, folder: Path | None) -> None:
        """folder: made when the first document is stored; None keeps nothing."""
        self.folder = folder
        self._said = False

    def path(self, kind: str, key: object) -> Path | None:
        """The document's file; None without a folder. key: anything that JSON can hold."""
        if self.folder is None:
            return None
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{kind}-{digest[:32]}.json"

    def load(self, kind: str, key: object, parse: Callable[[Any], T]) -> T | None:
        """What `parse` makes of the document, or None without one.

        parse: raises ValueError or `ProfileError` for a document that it does not take; the log says why.
        """
        path = self.path(kind, key)
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._say(f"{path}: {error.strerror}")
            return None
        try:
            return parse(json.loads(content))
        except (ValueError, RecursionError, ProfileError) as error:
            log.warning("cached %s %s is ignored and measured again: %s", kind, path, error)
            return None

    def store(self, kind: str, key: object, document: Any) -> None:
        """Keep the document under that key, in place of the one before."""
        path = self.path(kind, key)
        if path is None:
            self._say("this user has no home directory")
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(document, indent=1).encode())
        except OSError as error:
            self._say(f"{path}: {error.strerror}")

    def _say(self, why: str) -> None:
        if not self._said:
            self._said = True
            log.warning(
                "not cached, so the next start measures again: %s; set %s to a folder that can be written to",
                why,
                VARIABLE,
            )
