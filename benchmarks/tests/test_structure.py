"""Benchmarks stand on the product and on its tests' helpers; neither stands on them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imported(source: str) -> set[str]:
    """Top-level packages that a module imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module))
    return {name.partition(".")[0] for name in found}


def test_imports_are_found_wherever_they_stand() -> None:
    source = "import os.path, a.b as c\ndef f():\n    from benchmarks.harness import client\nfrom . import x"
    assert imported(source) == {"os", "a", "benchmarks"}


@pytest.mark.parametrize("package", ["downshift", "tests"])
def test_neither_the_product_nor_its_tests_import_benchmarks(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 50
    assert not [path for path in files if "benchmarks" in imported(path.read_text(encoding="utf-8"))]


def test_what_measures_needs_no_helper_of_the_tests() -> None:
    files = [path for path in (ROOT / "benchmarks").rglob("*.py") if "tests" not in path.parts]
    assert len(files) > 20
    assert not [path for path in files if "tests" in imported(path.read_text(encoding="utf-8"))]
