"""TLS under the server's connection limits: handshakes count and time out; certificates can be rotated.

uvicorn leaves the handshake to the event loop, where a silent client holds a socket for a minute and is not
counted. Here a connection is counted from the moment that it is accepted, and uses the present certificate.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from typing import TYPE_CHECKING, Any

from downshift.server.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from downshift.server.connection.concurrency import ConcurrencyState
    from downshift.server.connection.protocol import ConnectionLimits, HttpProtocol

CLOSE_SECONDS = 2.0  # for the client's close_notify, once a connection is closed


class Certificate:
    """A certificate chain and its key, as an SSL context that `reload` replaces."""

    def __init__(self, certfile: Path, keyfile: Path | None) -> None:
        """keyfile: None where `certfile` holds the key, too. Raises `BadSetting`."""
        self._certfile, self._keyfile = certfile, keyfile
        self.context = self._load()

    @property
    def files(self) -> tuple[Path, ...]:
        """Whose change calls for a `reload`."""
        return (self._certfile,) if self._keyfile is None else (self._certfile, self._keyfile)

    def reload(self) -> None:
        """Use the files as they are now for new connections; raises `BadSetting` and keeps the old ones."""
        self.context = self._load()

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        try:
            # An encrypted key fails instead of asking for its password on a terminal.
            context.load_cert_chain(self._certfile, self._keyfile, password=lambda: "")
        except OSError as error:  # ssl.SSLError is one
            files = f"{self._certfile} and {self._keyfile or 'no key file'}"
            why = error.strerror or error
            raise BadSetting(f"TLS with {files}: {why}; give a PEM certificate and its PEM key") from None
        return context


class TlsProtocol(SSLProtocol):
    """One TCP connection, with TLS and an HTTP protocol on top.

    A connection beyond the limit is closed at once, since nothing can be told to it before the handshake; one
    whose handshake takes longer than `head_seconds` is closed, too.
    """

    def __init__(
        self,
        *,
        http: Callable[..., HttpProtocol],
        certificate: Certificate,
        limits: ConnectionLimits,
        server_state: ConcurrencyState,
        _loop: asyncio.AbstractEventLoop | None = None,
        **options: Any,
    ) -> None:
        """http: makes the protocol on top, called with uvicorn's own options."""
        super().__init__(
            _loop or asyncio.get_running_loop(),
            http(server_state=server_state, _loop=_loop, **options),
            certificate.context,
            waiter=None,  # type: ignore[arg-type]
            server_side=True,
            ssl_handshake_timeout=limits.head_seconds,  # type: ignore[arg-type]
            ssl_shutdown_timeout=CLOSE_SECONDS,
        )
        self._sockets = server_state.tls_sockets
        self._limit = limits.connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake, or close the connection when there are too many."""
        if len(self._sockets) >= self._limit:
            transport.abort()
            return
        self._sockets.add(self)
        self._tcp = transport
        super().connection_made(transport)

    def abort(self) -> None:
        """Close the connection at once, whatever it is waiting for."""
        self._tcp.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The TCP connection has ended, maybe within its handshake."""
        self._sockets.discard(self)
        super().connection_lost(exc)
