"""API keys: parsed from text and files, and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.server.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SHORTEST = 8
_BEARER = b"bearer "
_COMMENT = re.compile(r"(?:^|\s)#.*")


class Keys:
    """A set of API keys, falsy when empty. Stores SHA-256 digests only, so no key can leak into a log."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = tuple({_digest(key) for key in keys})

    def __bool__(self) -> bool:
        return bool(self._digests)

    def replace(self, keys: Keys) -> None:
        """Replace the whole set."""
        self._digests = keys._digests

    def accept(self, candidates: Iterable[str]) -> bool:
        """Whether any candidate is in the set; constant time, with or without a match."""
        found = False
        for candidate in candidates:
            digest = _digest(candidate)
            for known in self._digests:
                found |= hmac.compare_digest(digest, known)
        return found


@dataclass(frozen=True)
class AccessKeys:
    """Whose keys may ask anything, and whose may also load and unload models."""

    clients: Keys
    admins: Keys

    @property
    def accepted(self) -> tuple[Keys, ...]:
        """Each request needs a key of one of these; empty where none is needed."""
        return (self.clients, self.admins) if self.clients else ()


def sent_keys(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Keys in a request's raw headers: `Authorization: Bearer KEY` and `X-API-Key: KEY`."""
    keys = []
    for name, value in headers:
        if name == b"x-api-key":
            keys += decodings(value.strip())
        elif name == b"authorization" and value.lstrip()[: len(_BEARER)].lower() == _BEARER:
            keys += decodings(value.lstrip()[len(_BEARER) :].strip())
    return keys


def decodings(sent: bytes) -> list[str]:
    """Possible decodings of a header's bytes: UTF-8 (RFC 7617), and ISO-8859-1 as sent by older clients."""
    latin = sent.decode("latin-1")
    try:
        text = sent.decode("utf-8")
    except UnicodeDecodeError:
        return [latin]
    return [text] if text == latin else [text, latin]


def read_keys(text: str, file: Path | None) -> Keys:
    """The keys in a text, separated by commas or white space, and in a file, one per line.

    File format: `#` at the start of a word begins a comment; a byte-order mark and CR LF are accepted. Raises
    `BadSetting` for an unreadable file or one without keys, and for a key that is too short or not printable.
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
