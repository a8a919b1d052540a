"""What the README tells people to type works as it stands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from downshift.models import artifact as artifacts
from downshift.models.encode import encode
from tests.docs.pages import curl, local
from tests.models.tiny_artifact import tiny_artifact, tiny_manifest, tiny_masks, tiny_model, tiny_norms

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
TABLE = {
    "ResNet-18, 1": "cifar-resnet18 | 1x4 | 1",
    "ResNet-18, 2": "cifar-resnet18 | 1x4 | 2",
    "ResNet-50 at 224x224, 1": "resnet50 | 1x4 | 1",
    "ResNet-20, 1": "cifar-resnet20 | 1x4 | 1",
    "MobileNetV1, 1": "cifar-mobilenet-v1 | 1x4 | 1",
    "the bundled ResNet-20, trained, 1": "cifar10-resnet20 | trained | 1",
}
"""The rows of the README's table of figures, and how the report of the race begins them."""
SMALL = (
    "run.epochs=3",
    "run.batch_size=256",
    "network.width=0.25",
    "masks.interval=2",
    "masks.offset=0",
    "masks.stop=0.65",
)


def _lines(program: str) -> list[list[str]]:
    """The README's command lines of that program, split into words."""
    return [words for line in LINES if (words := shlex.split(line, comments=True)) and words[0] == program]


def test_every_line_is_of_a_program_that_is_tested_here() -> None:
    assert {words[0] for line in LINES if (words := shlex.split(line, comments=True))} == {
        "make",
        "downshift",
        "curl",
        "docker",
    }


def test_it_is_short_and_begins_with_a_picture() -> None:
    assert len(README.splitlines()) <= 120
    assert re.match(r"# Downshift\n\n!\[[^\]]+\]\(docs/pictures/front\.svg\)\n", README)


def test_every_link_leads_to_a_file() -> None:
    paths = [path for path in re.findall(r"\]\(([^)#]+)", README) if not path.startswith("https://")]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("row", TABLE)
def test_its_figures_are_those_of_the_committed_race(row: str) -> None:
    report = (ROOT / "benchmarks/results/engines/engines.md").read_text()
    report = report.split("\n## Latency\n")[1].split("\n## ")[0]
    [found] = re.findall(rf"^\| {re.escape(TABLE[row])} \| 1 \| (.*) \|$", report, re.MULTILINE)
    [told] = re.findall(rf"^\| {re.escape(row)} \| (.*) \|$", README, re.MULTILINE)
    dense, fp32, *_, s80, s90, s95, s98 = found.split(" | ")
    assert [_rounded(cell) for cell in told.split(" | ")] == [
        _rounded(cell) for cell in (dense.split()[0], fp32.split()[0], s80, s90, s95, s98)
    ]


def test_its_overhead_is_that_of_the_committed_measurement() -> None:
    report = (ROOT / "benchmarks/results/server/overhead.md").read_text()
    [row] = re.findall(r"^\| cifar10-resnet20 \| s50 \| (.*) \|$", report, re.MULTILINE)
    overhead, goal, *_, echo, most = row.split(" | ")[3:]
    told = (
        f"{int(overhead.split()[0]) / 1e3:.2f} ms",
        f"(goal {int(goal) / 1e3:g})",
        f"{float(echo):.1f} times",
    )
    assert all(each in README for each in (*told, f"(goal {most}, not met)"))


def _rounded(cell: str) -> tuple[float, ...]:
    """The figures of a cell: milliseconds and, where there is one, the ratio to a decimal."""
    if cell == "-":
        return ()
    milliseconds, *ratio = re.findall(r"[0-9.]+", cell)
    return float(milliseconds), *(round(float(each) + 1e-9, 1) for each in ratio)


def test_its_python_runs(tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DOWNSHIFT_CACHE_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "sub-net s" in done.stdout


@pytest.mark.parametrize("target", sorted({words[1] for words in _lines("make")}))
def test_make_knows_its_targets(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_commands_follow_one_another_in_an_empty_folder(tmp_path: Path) -> None:
    """In order, with a training run cut down to three short epochs."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DOWNSHIFT_CACHE_DIR": str(tmp_path / "cache")}
    for _, command, *arguments in _lines("downshift"):
        small = [part for setting in SMALL for part in ("--set", setting)] if command == "train" else []
        done = subprocess.run(
            [sys.executable, "-m", "downshift", command, *arguments, *small],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, f"downshift {command} {arguments}: {done.stderr}"
    assert (tmp_path / "s90.onnx").is_file()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is what the README uses, and it is not here")
def test_the_server_answers_every_curl_line(tmp_path: Path) -> None:
    """Sub-net s98 stands in the README; here the tiny network's three are named so as to hold one."""
    names = ("s50", "s90", "s98")
    pairs = zip(tiny_artifact().manifest.subnets, names, strict=True)
    masks = tiny_masks(len(names))
    manifest = replace(
        tiny_manifest(masks), subnets=tuple(replace(subnet, name=name) for subnet, name in pairs)
    )
    artifacts.write(tmp_path / "model.onnx", encode(tiny_model(), manifest, masks, tiny_norms(len(names))))
    with subprocess.Popen(
        [sys.executable, "-m", "downshift", "serve", "model.onnx", "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DOWNSHIFT_CACHE_DIR": str(tmp_path / "cache")},
    ) as server:
        assert server.stdout is not None
        try:
            url = next(line.split()[1] for line in server.stdout if line.startswith("Open:"))
            for _, *arguments in _lines("curl"):
                answer = curl(*(local(argument, url) for argument in arguments))
                assert ("X-Subnet: s98" in arguments) <= ('"subnet":"s98"' in answer)
        finally:
            server.terminate()
