"""The documentation's pages, their fenced blocks, and a way to run these as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = tuple(sorted(DOCS.glob("*.md")))
SECONDS = 300
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"`([\w./-]+)`:\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block. file: the name that the text before it gives, as in "Save this as `x.py`:"."""

    language: str
    text: str
    file: str | None


def blocks(page: Path, *languages: str) -> list[Block]:
    """The page's fenced blocks, in order; of those languages only, if any are named."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        name = _FILE.search(text[: match.start()])
        found.append(Block(match[1], match[2], name[1] if name else None))
    return [block for block in found if not languages or block.language in languages]


def follow(page: Path, folder: Path) -> str:
    """Follow the page in an empty folder: write the files it names, run its other blocks; what they printed.

    Every `sh` block is a shell of its own; all `python` blocks without a file's name are one program, which
    runs last. `downshift` and `python` are those of this environment.
    Raises `AssertionError` where one fails.
    """
    environment = _environment(folder)
    program = []
    printed = []
    for block in blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text)
        elif block.language == "python":
            program.append(block.text)
        elif block.language == "sh":
            printed.append(_run(["bash", "-euo", "pipefail", "-c", block.text], folder, environment))
    if program:
        printed.append(_run([sys.executable, "-c", "".join(program)], folder, environment))
    return "".join(printed)


def _environment(folder: Path) -> dict[str, str]:
    programs = folder / ".programs"
    programs.mkdir()
    for name, arguments in (("downshift", "-m downshift"), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DOWNSHIFT_CACHE_DIR": str(folder / ".cache"),
        "OMP_NUM_THREADS": "1",
    }


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def curl(*arguments: str) -> str:
    """What curl gets, run at the top of the source tree, from a status below 400."""
    command = ["curl", "--silent", "--fail-with-body", "--noproxy", "*", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    return done.stdout


def local(command: str, url: str) -> str:
    """A command of a page, meant for the server under test, with time enough on however busy a machine."""
    return command.replace("http://127.0.0.1:8000", url).replace("Budget-Ms: 50", "Budget-Ms: 50000")
