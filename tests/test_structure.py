"""The house: what stands at the top, how full its rooms are, and that nobody uses the links."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINKS = {"models", "trainer", "runtime", "server"}
TOP = LINKS | {
    *(".ci", ".dockerignore", ".gitignore", "CHANGELOG.md", "Dockerfile", "LICENSE", "Makefile"),
    *("README.md", "benchmarks", "deploy", "docs", "downshift", "pyproject.toml", "tests"),
}
MOST_FILES = 20  # of Python in one folder


def _tracked() -> list[str]:
    """Every file under version control; skips where this is no repository, as in an sdist."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git repository")
    return done.stdout.splitlines()


def test_nothing_else_stands_at_the_top() -> None:
    assert {name.partition("/")[0] for name in _tracked()} <= TOP


def test_the_four_names_of_the_design_are_links_into_the_package() -> None:
    assert {name: (ROOT / name).readlink() for name in LINKS} == {
        name: Path("downshift") / name for name in LINKS
    }


@pytest.mark.parametrize("top", ["downshift", "benchmarks"])
def test_no_folder_is_too_full(top: str) -> None:
    files = Counter(path.parent for path in (ROOT / top).rglob("*.py"))
    assert {str(folder): count for folder, count in files.items() if count > MOST_FILES} == {}


@pytest.mark.parametrize("top", ["downshift", "benchmarks", "tests"])
def test_nothing_imports_through_the_links(top: str) -> None:
    paths = sorted((ROOT / top).rglob("*.py"))
    assert paths
    assert [
        f"{path.relative_to(ROOT)}: {name}"
        for path in paths
        for name in _imports(ast.parse(path.read_text(encoding="utf-8")))
        if name.partition(".")[0] in LINKS
    ] == []


def _imports(tree: ast.AST) -> list[str]:
    """The module of every absolute import statement, and of every `import_module` of a literal name."""
    found: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                found += (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                found.append(module)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                found.append(module)
    return found


def test_imports_are_found_however_they_are_written() -> None:
    text = "import models.a, b\nfrom server import c\nfrom . import d\nimportlib.import_module('trainer')\n"
    assert _imports(ast.parse(text)) == ["models.a", "b", "server", "trainer"]


def test_no_module_of_ours_is_imported_under_a_second_name() -> None:
    """Imports every module of the package from the repository, where the links lie."""
    script = f"""
import pkgutil, sys
from importlib import import_module
import downshift
for module in pkgutil.walk_packages(downshift.__path__, "downshift."):
    if module.name != "downshift.__main__":
        try:
            import_module(module.name)
        except ModuleNotFoundError as error:  # an extra that is not installed
            assert error.name.partition(".")[0] in {{"openvino", "opentelemetry"}}
assert "downshift.trainer.run" in sys.modules
print(sorted({LINKS} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
