"""Who may ask: keys that clients send along, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from downshift.server.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SHORTEST = 8
_BEARER = "bearer "


class Keys:
    """A set of keys; false when there is none. It holds digests only, so nothing can print a key."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = tuple({_digest(key) for key in keys})

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accept(self, candidates: Iterable[str]) -> bool:
        """Whether one of the candidates is one of the keys; takes as long whichever it is, or none."""
        found = False
        for candidate in candidates:
            digest = _digest(candidate)
            for known in self._digests:
                found |= hmac.compare_digest(digest, known)
        return found


def sent_keys(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """What a request's raw headers offer as keys: `Authorization: Bearer KEY` and `X-API-Key: KEY`."""
    keys = []
    for name, value in headers:
        text = value.decode("latin-1").strip()
        if name == b"x-api-key":
            keys.append(text)
        elif name == b"authorization" and text[: len(_BEARER)].lower() == _BEARER:
            keys.append(text[len(_BEARER) :].strip())
    return keys


def read_keys(text: str, file: Path | None) -> Keys:
    """The keys in a text, apart by commas or white space, and in a file, one a line; `#` begins a comment.

    Raises `BadSetting` for a file that cannot be read and for a key that is too short to be one.
    """
    lines = [text.replace(",", " ")]
    if file is not None:
        try:
            lines += (line.partition("#")[0] for line in file.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise BadSetting(f"keys file {file}: {why}") from None
    keys = [key for line in lines for key in line.split()]
    if file is not None and not keys:
        raise BadSetting(f"keys file {file} holds no key: put one on each line")
    if any(len(key) < SHORTEST for key in keys):
        raise BadSetting(f"a key has fewer than {SHORTEST} characters: make one with `openssl rand -hex 24`")
    return Keys(keys)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
