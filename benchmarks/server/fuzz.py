"""Does anything that our OpenAPI document allows provoke an answer that it does not promise?

    python -m benchmarks.server.fuzz --schemathesis ENVIRONMENT/bin/schemathesis --cases 50000

Schemathesis asks the real server in chunks. 503 and 504 are documented answers (not ready, out of time);
every other 5xx is a defect, and so is an answer of a type that the document does not promise, and a server
that does not live afterwards. With every eighth seed schemathesis makes up the model's name, with the others
it names the served one. /metrics, which is rate-limited, is asked with every eighth seed alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness.experiment import experiment
from benchmarks.harness.networks import BUNDLED
from benchmarks.harness.server import downshift

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from benchmarks.harness.report import Report

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


def run_chunk(chosen: Namespace, url: str, folder: Path, seed: int) -> dict[str, Any]:
    """Cases, statuses and failures of one run of schemathesis."""
    named = seed % 8 != 0
    (folder / "schemathesis.toml").write_text(CONFIG + NAMED * named, encoding="utf-8")
    command = [chosen.schemathesis, "run", f"{url}/openapi.json", "-n", str(chosen.per_operation)]
    command += ["--seed", str(seed), "--phases", "coverage,fuzzing", "--no-shrink", "--continue-on-failure"]
    command += ["-c", "not_a_server_error,content_type_conformance", "-H", f"X-API-Key: {KEY}"]
    command += ["--exclude-path", "/v2/repository/models/{name}/unload", "--request-timeout", "30"]
    command += ["--exclude-path-regex", "events|metrics" if seed % 8 else "events", "--warnings", "off"]
    command += ["--suppress-health-check", "all", "--max-time", str(chosen.chunk_seconds)]
    command += ["--report", "json,ndjson", "--report-json-path", "r.json", "--report-ndjson-path", "r.ndjson"]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=chosen.chunk_seconds + 120, check=False)  # noqa: S603
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


def statuses(events: str) -> Counter[str]:
    """How many answers had each status, from schemathesis' events."""
    return Counter(status for line in events.splitlines() for status in _statuses_in(json.loads(line)))


def _statuses_in(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(status := node.get("status_code"), int):
            yield str(status)
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _statuses_in(each)


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--schemathesis", required=True, help="the command, of an environment of its own")
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--per-operation", type=int, default=300, help="cases for one operation in one chunk")
    parser.add_argument("--seed", type=int, default=1, help="of the first chunk; those after it count on")
    parser.add_argument("--chunk-seconds", type=int, default=540)
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin no chunk after that long")
    parser.add_argument("--log", type=Path, help="keep the server's log there")


def measure(chosen: Namespace, report: Report) -> None:
    """Ask until there were that many cases."""
    chunks: list[dict[str, Any]] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with downshift(Path(BUNDLED), folder, {"DOWNSHIFT_ADMIN_KEYS": KEY}) as server:
            while sum(chunk["cases"] for chunk in chunks) < chosen.cases:
                if time.monotonic() > began + chosen.seconds:
                    break
                chunks.append(run_chunk(chosen, server.url, folder, chosen.seed + len(chunks)))
                print(json.dumps(chunks[-1]), flush=True)
                server.get("/v2/health/live")
            metrics = server.get("/metrics").decode()
            log = server.stop()
    if chosen.log is not None:
        chosen.log.write_text(log, encoding="utf-8")
    total = sum((Counter(chunk["statuses"]) for chunk in chunks), Counter[str]())
    report.json(
        {
            "cases": sum(chunk["cases"] for chunk in chunks),
            "failures": sorted({failure for chunk in chunks for failure in chunk["failures"]}),
            "statuses": dict(sorted(total.items())),
            "series": sum(not line.startswith("#") for line in metrics.splitlines()),
            "tracebacks_in_log": log.count("Traceback"),
            "chunks": chunks,
        },
        seed=chosen.seed,
    )


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
