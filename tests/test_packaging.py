"""What is shipped: the wheel, the image and the versions that CI installs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile, continuation lines joined, comments left out."""
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    split = (line.partition(" ") for line in lines if line)
    return [(name.upper(), " ".join(rest.split())) for name, _, rest in split]


class TestImage:
    """The image: built by hand nowhere near here, so its recipe is read instead."""

    @pytest.fixture
    def stages(self) -> list[dict[str, str]]:
        """Every build stage: instruction to arguments; repeated instructions joined by newlines."""
        stages: list[dict[str, str]] = []
        for name, arguments in _instructions((ROOT / "Dockerfile").read_text()):
            if name == "FROM":
                stages.append({})
            stages[-1][name] = f"{stages[-1][name]}\n{arguments}" if name in stages[-1] else arguments
        return stages

    def test_the_compiler_stays_in_the_build_stage(self, stages: list[dict[str, str]]) -> None:
        build, final = stages
        assert "g++" in build["RUN"]
        assert "pip wheel" in build["RUN"]
        assert final["FROM"] == "python:3.11-slim"
        assert not re.search(r"apt|pip|g\+\+|torch", final["RUN"])
        assert final["COPY"] == "--from=build /opt/downshift /opt/downshift"

    def test_no_stage_installs_torch(self, stages: list[dict[str, str]]) -> None:
        assert not [stage for stage in stages if re.search(r"\[[^]]*train|torch", stage["RUN"])]

    def test_it_runs_as_a_user_of_its_own(self, stages: list[dict[str, str]]) -> None:
        assert stages[-1]["USER"] == "downshift"

    def test_it_is_stopped_gracefully_the_process_being_the_first_of_its_container(
        self, stages: list[dict[str, str]]
    ) -> None:
        assert stages[-1]["STOPSIGNAL"] == "SIGTERM"
        assert json.loads(stages[-1]["ENTRYPOINT"]) == ["downshift"]
        assert json.loads(stages[-1]["CMD"])[:2] == ["serve", "cifar10-resnet20"]

    def test_its_health_is_liveness_on_the_port_it_serves(self, stages: list[dict[str, str]]) -> None:
        options, _, command = stages[-1]["HEALTHCHECK"].partition("CMD ")
        program, flag, script = json.loads(command)
        port = json.loads(stages[-1]["CMD"])[-1]
        assert (program, flag) == ("python", "-c")
        assert f"http://127.0.0.1:{port}/v2/health/live" in script
        compile(script, "HEALTHCHECK", "exec")
        assert "--start-period=" in options

    def test_every_file_its_build_reads_is_let_through(self) -> None:
        lines = (ROOT / ".dockerignore").read_text().splitlines()
        allowed = {line[1:] for line in lines if line.startswith("!")}
        needed = {
            *PYPROJECT["tool"]["scikit-build"]["wheel"]["packages"],
            *PYPROJECT["project"]["license-files"],
        }
        assert needed | {"pyproject.toml", PYPROJECT["project"]["readme"], ".ci/constraints.txt"} <= allowed


class TestConstraints:
    """CI's exact versions."""

    LINES = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()

    def test_every_line_is_one_exact_version_and_no_address(self) -> None:
        assert all(re.fullmatch(r"#.*|[A-Za-z0-9_.-]+==[0-9A-Za-z.+!]+", line) for line in self.LINES)

    def test_every_direct_dependency_is_pinned(self) -> None:
        project = PYPROJECT["project"]
        extras = project["optional-dependencies"]
        build = PYPROJECT["build-system"]["requires"]
        wanted = [*project["dependencies"], *extras["train"], *extras["dev"], *build]
        pinned = {_canonical(line.partition("==")[0]) for line in self.LINES}
        assert {_canonical(re.split(r"[\[><=;]", requirement)[0]) for requirement in wanted} <= pinned


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree without reaching for anything outside the environment."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)
    (path,) = folder.glob("downshift-*.whl")
    return path


class TestWheel:
    """What `pip install downshift` puts on a machine."""

    @pytest.fixture
    def names(self, wheel: Path) -> set[str]:
        return set(zipfile.ZipFile(wheel).namelist())

    def test_it_holds_every_module_of_every_package(self, names: set[str]) -> None:
        packages = PYPROJECT["tool"]["scikit-build"]["wheel"]["packages"]
        modules = {str(path.relative_to(ROOT)) for name in packages for path in (ROOT / name).rglob("*.py")}
        assert modules | {"downshift.py"} <= names

    def test_it_holds_the_recipes_the_page_and_the_bundled_networks(self, names: set[str]) -> None:
        data = [
            *ROOT.glob("trainer/recipes/*.toml"),
            *ROOT.glob("server/static/*"),
            *ROOT.glob("models/zoo/*"),
        ]
        assert {str(path.relative_to(ROOT)) for path in data if path.is_file()} <= names
        assert "trainer/recipes/digits.toml" in names

    def test_it_leaves_tests_and_benchmarks_behind(self, names: set[str]) -> None:
        assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
