"""Ignores every offer to upgrade the protocol (RFC 9110, section 7.8): the request is answered over HTTP/1.1.

llhttp ends a message at its head when it offers an upgrade, and would parse its body as the next request,
which is request smuggling. JDK's HttpClient (`Upgrade: h2c`) and `curl --http2` offer one in every request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from collections.abc import Iterable

CONNECT, HTTP2_PREFACE = b"CONNECT", b"PRI"  # methods that no resource has


class UpgradeIgnoringProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which parses a head that offers an upgrade once more, without the offer.

    While `offers_upgrade` holds, the callbacks of a derived class must leave the message alone.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._replaying = False

    @property
    def offers_upgrade(self) -> bool:
        """The head being parsed offers an upgrade, or asks for a tunnel (CONNECT)."""
        return bool(self.parser.should_upgrade())

    def data_received(self, data: bytes) -> None:
        """Parse what came; without an offer this is what uvicorn does."""
        self._unset_keepalive_if_required()
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A message begins, maybe for the second time."""
        super().on_message_begin()
        self._replaying = False

    def _parse(self, data: bytes) -> bytes:
        """What is to be parsed next: after an offer, the head without it and whatever followed the head."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._replaying = True
            version = self.parser.get_http_version().encode()
            head = head_without_upgrade(self.parser.get_method(), self.url, version, self.headers)
            self.parser = httptools.HttpRequestParser(self)  # the one before still believes in the upgrade
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            return head + data[offer.args[0] :]
        return b""


def head_without_upgrade(
    method: bytes, target: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """A request's head as it would be had the client not offered an upgrade; names are lower-case."""
    kept = b"".join(b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade")
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version, kept)
