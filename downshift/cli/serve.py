"""`downshift serve`: models over HTTP."""

from pathlib import Path
from typing import Annotated

from downshift.cli.options import Device, Threads, argument, option

EXAMPLE = "downshift serve model.onnx digits=runs/digits/model.onnx --port 8000"


def serve(
    models: Annotated[
        list[str] | None,
        argument(
            "[NAME=]MODEL ...", "Artifacts, or names of bundled networks; the first is the default model"
        ),
    ] = None,
    host: Annotated[str | None, option("Address to bind", "127.0.0.1")] = None,
    port: Annotated[int | None, option("Port to bind (0 picks a free one)", "8000")] = None,
    threads: Threads = None,
    executors: Annotated[
        int | None, option("Batches that run at once, each on threads of its own", "1", min=1)
    ] = None,
    workers: Annotated[
        int | None, option("Processes that share the port, each on cores of its own", "1", min=1)
    ] = None,
    device: Device = None,
    metrics_port: Annotated[
        int | None, option("Separate port for /metrics and the health endpoints", "none")
    ] = None,
    grpc_port: Annotated[
        int | None, option("Port for the V2 protocol over gRPC (needs downshift\\[grpc])", "none")
    ] = None,
    access_log: Annotated[
        str | None, option("Access log: a file, one JSON line per request (- is standard output)", "none")
    ] = None,
    log_json: Annotated[bool, option("Write the server's log as JSON lines", False, "--log-json")] = False,
    otel: Annotated[
        bool, option("Send OpenTelemetry spans (needs downshift\\[otel])", False, "--otel")
    ] = False,
    repository: Annotated[
        Path | None,
        option("Folder of models that clients may load; without MODEL, all of them are loaded", "none"),
    ] = None,
    watch: Annotated[bool, option("Reload a model when its file changes", False, "--watch")] = False,
    api_keys_file: Annotated[Path | None, option("File with API keys, one per line", "no key needed")] = None,
    admin_keys_file: Annotated[
        Path | None, option("File with keys for loading and unloading models, one per line", "none")
    ] = None,
    ssl_certfile: Annotated[Path | None, option("Certificate (PEM file); enables HTTPS", "none")] = None,
    ssl_keyfile: Annotated[Path | None, option("Private key of the certificate (PEM file)", "none")] = None,
    tune: Annotated[
        bool, option("Tune programs in the background while idle", True, "--tune/--no-tune")
    ] = True,
) -> None:
    """Serve models over HTTP; each request gets the most accurate sub-net that fits its latency budget.

    SIGTERM and Ctrl-C drain: the server refuses new requests, answers those it has accepted, and exits:
    with 0 after SIGTERM, with 130 after Ctrl-C. SIGHUP reloads models, keys and certificates.
    """
    from downshift.cli.server_console import ServerConsole
    from downshift.server.serve import run

    run(
        *map(_named, models or ()),
        operator=ServerConsole(),
        host=host,
        port=port,
        threads=threads,
        executors=executors,
        workers=workers,
        device=device,
        metrics_port=metrics_port,
        grpc_port=grpc_port,
        access_log=access_log,
        log_json=log_json or None,
        otel=otel or None,
        repository=repository,
        watch=watch or None,
        api_keys_file=api_keys_file,
        tune=None if tune else False,
        admin_keys_file=admin_keys_file,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
    )


def _named(model: str) -> str | Path:
    """NAME=PATH, or PATH, with the path of a bundled network in place of its name."""
    from downshift.models.bundled import locate

    name, equals, path = model.partition("=")
    return f"{name}={locate(path)}" if equals and not Path(model).exists() else locate(model)
