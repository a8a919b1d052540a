"""Listening sockets, their URL, and the limit of open files."""

from __future__ import annotations

import errno
import resource
import socket

from downshift.server.errors import BadSetting

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
    except OSError as error:
        why, remedy = error.strerror or error, f"choose another with {option}"
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            remedy = "give --host an address of this machine, such as 127.0.0.1"
        raise BadSetting(f"cannot listen on {host!r}, port {port} ({why}): {remedy}") from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url(listener: socket.socket, tls: bool = False) -> str:
    """The URL of the server for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if host == "0.0.0.0":  # noqa: S104  shown, not bound
        host = "localhost"
    elif host == "::":
        only = listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        host = "::1" if only else "localhost"
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
