"""Listening sockets, their addresses, and the limit of open files."""

from __future__ import annotations

import errno
import resource
import socket
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.server.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKLOG = 2048
_OTHER_FILES = 256  # artifacts, the cache, the metrics' port, the event loop's own


def allow_files(connections: int) -> None:
    """Raise the soft limit of open files to what that many connections need, up to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """A listening socket with TCP_NODELAY; raises `BadSetting` for an unusable address or port."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        both = address[0] == "::" and socket.has_dualstack_ipv6()  # dual-stack, as other servers treat ::
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        raise _refused(host, port, option, error) from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@dataclass(frozen=True)
class Ports:
    """The sockets of one server, however many processes serve on them.

    grpc keeps its port and does not listen, as its library does that. So do http and metrics of a server of
    several processes, each of which listens beside them.
    """

    http: socket.socket
    metrics: socket.socket | None
    grpc: socket.socket | None

    @classmethod
    @contextmanager
    def open(
        cls, host: str, port: int, metrics_port: int | None, grpc_port: int | None, *, shared: bool = False
    ) -> Iterator[Ports]:
        """Take the ports, None for one that is not wanted; free on leaving. Raises `BadSetting`.

        shared: several processes will listen.
        """
        take = reserve if shared else listen
        with ExitStack() as stack:
            http = stack.enter_context(closing(take(host, port, "--port")))
            metrics = grpc = None
            if metrics_port is not None:
                metrics = stack.enter_context(closing(take(host, metrics_port, "--metrics-port")))
            if grpc_port is not None:
                grpc = stack.enter_context(closing(reserve(host, grpc_port, "--grpc-port")))
            yield cls(http, metrics, grpc)


def url(listener: socket.socket, tls: bool = False) -> str:
    """The URL of the server for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if host == "0.0.0.0":  # noqa: S104  shown, not bound
        host = "localhost"
    elif host == "::":
        only = listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        host = "::1" if only else "localhost"
    scheme = "https" if tls else "http"
    return f"{scheme}://{_joined(host, port)}"


def address(listener: socket.socket) -> str:
    """Where it listens, as `host:port`."""
    return _joined(*listener.getsockname()[:2])


def reserve(host: str, port: int, option: str) -> socket.socket:
    """Keeps a port on which several processes listen, and does not listen itself; raises `BadSetting`.

    Sockets that share a port say so (SO_REUSEPORT), and would share one that another server listens on, too:
    therefore it is taken alone first.
    """
    with listen(host, port, option) as alone:
        like = _Bound.of(alone)
    try:
        return like.again()
    except OSError as error:  # somebody was quicker
        raise _refused(host, port, option, error) from None


def listen_beside(reserved: socket.socket) -> socket.socket:
    """A listening socket on a reserved port; the kernel deals connections to all that listen there."""
    listener = _Bound.of(reserved).again()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.listen(_BACKLOG)
    return listener


@dataclass(frozen=True)
class _Bound:
    """What a socket is bound to. v6_only: it takes no IPv4."""

    family: int
    address: tuple[str, int]
    v6_only: int | None

    @classmethod
    def of(cls, other: socket.socket) -> _Bound:
        v6 = other.family == socket.AF_INET6
        only = other.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) if v6 else None
        return cls(other.family, other.getsockname(), only)

    def again(self) -> socket.socket:
        """Another socket, bound to the same and to be shared."""
        with ExitStack() as stack:
            made = stack.enter_context(socket.socket(self.family, socket.SOCK_STREAM))
            if self.v6_only is not None:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self.v6_only)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind(self.address)
            stack.pop_all()
            return made


def _refused(host: str, port: int, option: str, error: OSError | UnicodeError) -> BadSetting:
    why, remedy = getattr(error, "strerror", None) or error, f"choose another with {option}"
    name = isinstance(error, socket.gaierror | UnicodeError)
    if name or getattr(error, "errno", None) == errno.EADDRNOTAVAIL:
        remedy = "give --host an address of this machine, such as 127.0.0.1"
    return BadSetting(f"cannot listen on {host!r}, port {port} ({why}): {remedy}")


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
