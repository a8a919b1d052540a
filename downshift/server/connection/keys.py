"""API keys: read from text and files, and compared with those of a request in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from typing import TYPE_CHECKING

from downshift.server.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SHORTEST = 8
_BEARER = b"bearer "
_COMMENT = re.compile(r"(?:^|\s)#.*")


class Keys:
    """A set of keys; false when there is none. It holds digests only, so nothing can print a key."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = tuple({_digest(key) for key in keys})

    def __bool__(self) -> bool:
        return bool(self._digests)

    def replace(self, keys: Keys) -> None:
        """Accept those keys from now on, and no others."""
        self._digests = keys._digests

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
        if name == b"x-api-key":
            keys += decodings(value.strip())
        elif name == b"authorization" and value.lstrip()[: len(_BEARER)].lower() == _BEARER:
            keys += decodings(value.lstrip()[len(_BEARER) :].strip())
    return keys


def decodings(sent: bytes) -> list[str]:
    """The texts that a header's bytes may stand for: UTF-8 (RFC 7617), or ISO-8859-1 of older clients."""
    latin = sent.decode("latin-1")
    try:
        text = sent.decode("utf-8")
    except UnicodeDecodeError:
        return [latin]
    return [text] if text == latin else [text, latin]


def read_keys(text: str, file: Path | None) -> Keys:
    """The keys in a text, separated by commas or white space, and in a file, one a line.

    In the file `#` at the beginning of a word begins a comment, a byte order mark is skipped, and lines may
    end in CR LF. Raises `BadSetting` for a file that cannot be read or holds no key, and for a key that is
    too short or that no client could send.
    """
    lines = [text.replace(",", " ")]
    if file is not None:
        try:
            lines += (_COMMENT.sub("", line) for line in file.read_text(encoding="utf-8-sig").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise BadSetting(f"keys file {file}: {why}") from None
    keys = [key for line in lines for key in line.split()]
    if file is not None and not keys:
        raise BadSetting(f"keys file {file} holds no key: put one on each line")
    if any(len(key) < SHORTEST for key in keys):
        raise BadSetting(f"a key has fewer than {SHORTEST} characters: make one with `openssl rand -hex 24`")
    for key in keys:
        _check_characters(key, file)
    return Keys(keys)


def _check_characters(key: str, file: Path | None) -> None:
    where = "a key" if file is None else f"a key (of the settings or of {file})"
    if "," in key:
        raise BadSetting(f"{where} holds a comma, which separates keys: put each key on a line of its own")
    for character in key:
        if not character.isprintable():
            shown = f"U+{ord(character):04X}"
            raise BadSetting(f"{where} holds the character {shown}, which nobody can send: remove it")


def _digest(key: str) -> bytes:
    """SHA-256 of the key in Unicode's composed form, as RFC 7617 compares passwords."""
    return hashlib.sha256(unicodedata.normalize("NFC", key).encode("utf-8", "surrogatepass")).digest()
