"""Runs DeepSparse in an environment of its own: its last release wants an older numpy and onnx than ours.

Started as `PYTHON benchmarks/engines/deepsparse_worker.py`; reads one JSON command per line, answers each:
  {"load": key, "model": path, "inputs": path, "expected": path, "threads": n}  -> {"version": text}
  {"time": key, "runs": n, "warm": bool, "tolerance": x}  -> {"seconds": [...]}, each run's result checked
  any failure  -> {"error": text}
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import deepsparse
import numpy as np

LOADED: dict[str, Any] = {}


def load(command: dict[str, Any]) -> dict[str, Any]:
    """Compile a model for the batch in the file."""
    inputs, expected = np.load(command["inputs"]), np.load(command["expected"])
    engine = deepsparse.compile_model(command["model"], batch_size=len(inputs), num_cores=command["threads"])
    LOADED[command["load"]] = engine, [inputs], expected
    return {"version": deepsparse.__version__}


def measure(command: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each run, after one that is not counted unless told to leave it out."""
    engine, inputs, expected = LOADED[command["time"]]
    if command["warm"]:
        engine.run(inputs)
    seconds = []
    for _ in range(command["runs"]):
        begin = time.perf_counter()
        outputs = engine.run(inputs)
        seconds.append(time.perf_counter() - begin)
        error = float(np.abs(outputs[0] - expected).max() / np.abs(expected).max())
        if not error <= command["tolerance"]:
            return {"error": f"wrong by {error:.2g} of the largest logit"}
    return {"seconds": seconds}


def main() -> None:
    """Serve commands until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # DeepSparse greets on stdout
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = load(command) if "load" in command else measure(command)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other side wants to know
            answer = {"error": str(error).splitlines()[0] if str(error) else repr(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
