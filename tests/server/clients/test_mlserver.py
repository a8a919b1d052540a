"""`mlserver infer`, MLServer's command for whole files of requests, unmodified."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.server.clients.served import MODEL, client, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUES = np.linspace(-1, 1, 5 * 75, dtype=np.float32).reshape(5, 1, 3, 5, 5)


def infer(address: str, requests: Path, *options: str) -> list[dict[str, object]]:
    answers = requests.with_suffix(".answers")
    run(
        *(client("mlserver", "bin/mlserver"), "infer", "--url", address, "--model-name", MODEL),
        *("--input-data-path", requests, "--output-data-path", answers, "--workers", "2"),
        *("--request-headers", "x-subnet: s0", *options),
    )
    return [json.loads(line) for line in answers.read_text().splitlines()]


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    """A file of five requests, one a line."""
    path = tmp_path / "requests.jsonl"
    tensors = [
        {"name": "image", "shape": [1, 3, 5, 5], "datatype": "FP32", "data": np.ravel(value).tolist()}
        for value in VALUES
    ]
    path.write_text("".join(json.dumps({"inputs": [tensor]}) + "\n" for tensor in tensors))
    return path


@pytest.mark.parametrize("options", [(), ("--binary-data",), ("--batch-size", "3")], ids=" ".join)
def test_every_line_is_answered(
    address: str, requests: Path, options: tuple[str, ...], expected: Callable[..., list[float]]
) -> None:
    answers = {answer["parameters"]["batch_index"]: answer for answer in infer(address, requests, *options)}
    assert sorted(answers) == [0, 1, 2, 3, 4]
    for index, value in enumerate(VALUES):
        assert answers[index]["model_name"] == MODEL
        [logits] = answers[index]["outputs"]
        assert logits["data"] == pytest.approx(expected(value), rel=1e-4, abs=1e-5)


def test_a_line_that_cannot_be_answered_says_why(address: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.jsonl"
    tensor = {"name": "image", "shape": [1, 3, 4, 4], "datatype": "FP32", "data": [0.0] * 48}
    path.write_text(json.dumps({"inputs": [tensor]}) + "\n")
    [answer] = infer(address, path, "--retries", "1")
    assert "this model takes [N, 3, 5, 5]" in answer["error"]["msg"]
