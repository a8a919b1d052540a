"""What our OpenAPI document provokes: schemathesis asks the real server in chunks, and no 5xx may surprise.

    python -m benchmarks.server.fuzz --schemathesis ENVIRONMENT/bin/schemathesis --cases 50000

503 and 504 are documented answers (not ready, out of time); every other 5xx is a defect, and so is an answer
of a type that the document does not promise, and a server that does not live afterwards. Every eighth seed
lets schemathesis make up the model's name, the others name the served one. /metrics, which rests after every
text, is asked with every eighth seed alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness.process import ServerProcess, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODEL = "downshift/models/zoo/cifar10-resnet20.onnx"
KEY = "fuzzing-admin-key"
CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503", "504"]
"""
NAMED = """
[parameters]
"path.name" = "cifar10-resnet20"
"path.version" = "1"
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask until there were that many cases; write and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schemathesis", required=True, help="the command, of an environment of its own")
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--per-operation", type=int, default=300, help="cases for one operation in one chunk")
    parser.add_argument("--seed", type=int, default=1, help="of the first chunk; those after it count on")
    parser.add_argument("--chunk-seconds", type=int, default=540)
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin no chunk after that long")
    parser.add_argument("--log", type=Path, help="keep the server's log there")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/server/fuzz.json"))
    options = parser.parse_args(arguments)
    chunks: list[dict[str, Any]] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as server:
        while sum(chunk["cases"] for chunk in chunks) < options.cases:
            if time.monotonic() > began + options.seconds:
                break
            chunk = run_chunk(options, server.url, Path(folder), options.seed + len(chunks))
            chunks.append(chunk)
            print(json.dumps(chunk), flush=True)
            server.get("/v2/health/live")
        metrics = server.get("/metrics").decode()
        log = server.stop()
    if options.log is not None:
        options.log.write_text(log, encoding="utf-8")
    result = {
        "cases": sum(chunk["cases"] for chunk in chunks),
        "failures": sorted({failure for chunk in chunks for failure in chunk["failures"]}),
        "statuses": total([chunk["statuses"] for chunk in chunks]),
        "series": sum(not line.startswith("#") for line in metrics.splitlines()),
        "tracebacks_in_log": log.count("Traceback"),
        "chunks": chunks,
        "command": f"python -m benchmarks.server.fuzz --cases {options.cases} --seed {options.seed}",
        "environment": environment(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: result[name] for name in ("cases", "failures", "statuses", "tracebacks_in_log")}))


@contextmanager
def served(folder: Path) -> Iterator[ServerProcess]:
    """The real server, whose administrator the fuzzer is."""
    with ServerProcess([MODEL], folder, {"DOWNSHIFT_ADMIN_KEYS": KEY}) as server:
        yield server


def run_chunk(options: argparse.Namespace, url: str, folder: Path, seed: int) -> dict[str, Any]:
    """Cases, statuses and failures of one run of schemathesis."""
    named = seed % 8 != 0
    (folder / "schemathesis.toml").write_text(CONFIG + NAMED * named, encoding="utf-8")
    command = [options.schemathesis, "run", f"{url}/openapi.json", "-n", str(options.per_operation)]
    command += ["--seed", str(seed), "--phases", "coverage,fuzzing", "--no-shrink", "--continue-on-failure"]
    command += ["-c", "not_a_server_error,content_type_conformance", "-H", f"X-API-Key: {KEY}"]
    command += ["--exclude-path", "/v2/repository/models/{name}/unload", "--request-timeout", "30"]
    command += ["--exclude-path-regex", "events|metrics" if seed % 8 else "events", "--warnings", "off"]
    command += ["--suppress-health-check", "all", "--max-time", str(options.chunk_seconds)]
    command += ["--report", "json,ndjson", "--report-json-path", "r.json", "--report-ndjson-path", "r.ndjson"]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=options.chunk_seconds + 120, check=False)  # noqa: S603
    report = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    return {
        "seed": seed,
        "named": named,
        "cases": report["test_cases"]["generated"],
        "seconds": round(report["running_time"], 1),
        "statuses": statuses((folder / "r.ndjson").read_text(encoding="utf-8")),
        "failures": [
            f"{failure['code']} {failure['title']}: {operation}"
            for failure in report["failures"]
            for operation in failure["operations"]
        ],
    }


def statuses(events: str) -> dict[str, int]:
    """How many answers had each status, from schemathesis' events."""
    counts: dict[str, int] = {}

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            status = node.get("status_code")
            if isinstance(status, int):
                counts[str(status)] = counts.get(str(status), 0) + 1
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    for line in events.splitlines():
        walk(json.loads(line))
    return counts


def total(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    """The sum of several counts, by key."""
    keys = sorted({key for each in counts for key in each})
    return {key: sum(each.get(key, 0) for each in counts) for key in keys}


if __name__ == "__main__":
    main()
