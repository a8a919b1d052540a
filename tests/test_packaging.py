"""What is shipped: the wheel, the image and the versions that CI installs."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import urllib.request
import zipfile
from email.parser import Parser
from importlib.metadata import distribution, packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from PIL import Image

from downshift.models import artifact as artifacts
from downshift.runtime.gpu.libraries import FILES
from tests.models.tiny_artifact import tiny_artifact

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

TARGETS = ("cpu", "cuda")


def _instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile, continuation lines joined, comments left out."""
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    split = (line.partition(" ") for line in lines if line)
    return [(name.upper(), " ".join(rest.split())) for name, _, rest in split]


class TestImage:
    """The image: built by hand nowhere near here, so its recipe is read instead."""

    @pytest.fixture
    def stages(self) -> dict[str, dict[str, str]]:
        """Every build stage by name: instruction to arguments, repeated ones joined by newlines.

        A stage begins as the one that it is built from.
        """
        stages: dict[str, dict[str, str]] = {}
        for instruction, arguments in _instructions((ROOT / "Dockerfile").read_text()):
            if instruction == "FROM":
                source, _, name = arguments.partition(" AS ")
                stages[name] = dict(stages.get(source, {"FROM": source}))
                continue
            stage = stages[name]
            stage[instruction] = "\n".join(filter(None, (stage.get(instruction), arguments)))
        return stages

    @pytest.mark.parametrize("target", TARGETS)
    def test_the_compiler_stays_in_the_build_stage(
        self, target: str, stages: dict[str, dict[str, str]]
    ) -> None:
        build, final = stages[f"build-{target}"], stages[target]
        assert "g++" in build["RUN"]
        assert "pip wheel" in build["RUN"]
        assert final["FROM"] == "python:3.11-slim"
        assert not re.search(r"apt|pip|g\+\+|torch", final["RUN"])
        assert final["COPY"] == f"--from=build-{target} /opt/downshift /opt/downshift"

    def test_the_cpu_is_the_default_without_what_only_a_gpu_could_use(
        self, stages: dict[str, dict[str, str]]
    ) -> None:
        assert list(stages)[-1] == "cpu"
        assert "[cuda]" not in stages["build-cpu"]["RUN"]
        for file in FILES.values():
            assert f"-name '{file}' -delete" in stages["build-cpu"]["RUN"]

    def test_the_gpus_image_has_cudas_libraries_and_asks_for_cuda_and_nvml(
        self, stages: dict[str, dict[str, str]]
    ) -> None:
        assert '"$(echo /wheels/*.whl)[cuda]"' in stages["build-cuda"]["RUN"]
        assert "-delete" not in stages["build-cuda"]["RUN"]
        assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in stages["cuda"]["ENV"]
        constraints = (ROOT / ".ci" / "constraints.txt").read_text()
        for requirement in map(Requirement, PYPROJECT["project"]["optional-dependencies"]["cuda"]):
            [pinned] = re.findall(rf"^{requirement.name}==(.+)$", constraints, re.MULTILINE)
            assert pinned in requirement.specifier

    def test_without_the_gpu_providers_onnxruntime_still_runs_on_the_cpu(self, tmp_path: Path) -> None:
        """What the default image does to it, done to a tree of links."""
        package = Path(str(distribution("onnxruntime-gpu").locate_file("onnxruntime")))
        for path in package.rglob("*"):
            if path.is_file() and path.name not in FILES.values() and "__pycache__" not in path.parts:
                link = tmp_path / "onnxruntime" / path.relative_to(package)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)
        script = (
            "import onnxruntime, sys, numpy as np\n"
            "from tests.models.tiny_artifact import tiny_model\n"
            "assert onnxruntime.__file__.startswith(sys.argv[1])\n"
            "model = tiny_model().SerializeToString()\n"
            "session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])\n"
            "print(session.run(None, {'image': np.zeros((2, 3, 5, 5), np.float32)})[0].shape)\n"
        )
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.returncode) == ("(2, 3)\n", 0), done.stderr

    def test_no_stage_installs_torch(self, stages: dict[str, dict[str, str]]) -> None:
        assert not [name for name, stage in stages.items() if re.search(r"\[[^]]*train|torch", stage["RUN"])]

    def test_it_runs_as_a_user_of_its_own(self, stages: dict[str, dict[str, str]]) -> None:
        assert stages["cpu"]["USER"] == "downshift"

    def test_it_is_stopped_gracefully_the_process_being_the_first_of_its_container(
        self, stages: dict[str, dict[str, str]]
    ) -> None:
        assert stages["cpu"]["STOPSIGNAL"] == "SIGTERM"
        assert json.loads(stages["cpu"]["ENTRYPOINT"]) == ["downshift"]
        assert json.loads(stages["cpu"]["CMD"])[:2] == ["serve", "cifar10-resnet20"]

    def test_its_health_is_liveness_on_the_port_it_serves(self, stages: dict[str, dict[str, str]]) -> None:
        options, _, command = stages["cpu"]["HEALTHCHECK"].partition("CMD ")
        program, flag, script = json.loads(command)
        port = json.loads(stages["cpu"]["CMD"])[-1]
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


class TestDependencies:
    """What pyproject.toml asks for."""

    PROJECT = PYPROJECT["project"]
    EXTRAS = ("grpc", "openvino", "otel", "train")

    def test_whatever_is_imported_is_asked_for_directly(self) -> None:
        requirements = list(self.PROJECT["dependencies"])
        for extra in self.EXTRAS:
            requirements += self.PROJECT["optional-dependencies"][extra]
        asked = {_canonical(Requirement(requirement).name) for requirement in requirements}
        distributions = packages_distributions()
        imported = _imported(ROOT / "downshift") - sys.stdlib_module_names - {"downshift"}
        assert {"numpy", "uvicorn", "httptools", "starlette", "watchfiles", "torch"} <= imported
        assert {
            name
            for name in imported
            if not {_canonical(found) for found in distributions.get(name, [name])} & asked
        } == set()

    def test_what_tests_are_skipped_without_is_installed_for_development(self) -> None:
        extras = self.PROJECT["optional-dependencies"]
        asked = {_canonical(Requirement(each).name) for each in (*extras["train"], *extras["dev"])}
        texts = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
        texts += [path.read_text() for path in (ROOT / "benchmarks" / "tests").rglob("test_*.py")]
        names = set(re.findall(r"(?:importorskip|find_spec)\(\"(\w+)", "\n".join(texts)))
        assert {"openvino", "timm", "grpc_tools", "pytorch_lightning"} <= names
        # Once OpenVINO has computed after much else, a system call ends the process (SIGSEGV, SI_KERNEL).
        names -= {"openvino", "onnxsim"}
        distributions = packages_distributions()
        assert {
            name
            for name in names
            if not {_canonical(found) for found in distributions.get(name, [name])} & asked
        } == set()

    @pytest.mark.parametrize("name", ["uvicorn", "torch"])
    def test_a_dependency_whose_private_api_is_used_has_an_upper_bound(self, name: str) -> None:
        requirements = [*self.PROJECT["dependencies"], *self.PROJECT["optional-dependencies"]["train"]]
        [found] = [r for r in map(Requirement, requirements) if r.name == name]
        installed = Version(version(name))
        assert installed.public in found.specifier
        assert f"{installed.major}.{installed.minor + 1}" not in found.specifier


def _imported(folder: Path) -> set[str]:
    """The top-level names that any module under the folder imports."""
    nodes = [node for path in folder.rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in names}


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
        assert modules | {"downshift/cli/main.py"} <= names

    def test_it_holds_the_recipes_the_page_and_the_bundled_networks(self, names: set[str]) -> None:
        data = [
            *ROOT.glob("downshift/trainer/recipes/*.toml"),
            *ROOT.glob("downshift/server/page/static/*"),
            *ROOT.glob("downshift/models/zoo/*"),
        ]
        assert {str(path.relative_to(ROOT)) for path in data if path.is_file()} <= names
        assert "downshift/trainer/recipes/digits.toml" in names

    def test_it_installs_exactly_one_top_level_package(self, names: set[str]) -> None:
        tops = {name.partition("/")[0] for name in names}
        assert {top for top in tops if not top.endswith(".dist-info")} == {"downshift"}

    def test_it_tells_type_checkers_that_it_is_typed(self, names: set[str]) -> None:
        assert "downshift/py.typed" in names

    def test_it_leaves_tests_and_benchmarks_behind(self, names: set[str]) -> None:
        assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_the_sdist_holds_the_package_and_not_the_links_into_it(tmp_path: Path) -> None:
    script = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (path,) = tmp_path.glob("downshift-*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"downshift/models/artifact.py", "downshift/py.typed", "pyproject.toml"} <= names
    assert not {name.partition("/")[0] for name in names} & {"models", "trainer", "runtime", "server"}


def _requirements(wheel: Path) -> list[Requirement]:
    """What the wheel asks for when no extra is named."""
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist", [])
    return _applying([Requirement(line) for line in lines], {""})


def _applying(requirements: list[Requirement], extras: set[str]) -> list[Requirement]:
    """Those that apply to this interpreter with these extras."""
    return [
        r
        for r in requirements
        if not r.marker or any(r.marker.evaluate({"extra": extra}) for extra in extras)
    ]


def _closure(requirements: list[Requirement]) -> set[str]:
    """Names of all distributions that installing these installs, taken from this environment."""
    names: set[str] = set()
    asked: set[tuple[str, str]] = set()
    while requirements:
        requirement = requirements.pop()
        key = (_canonical(requirement.name), str(sorted(requirement.extras)))
        if key in asked:
            continue
        asked.add(key)
        names.add(key[0])
        further = [Requirement(line) for line in distribution(requirement.name).requires or ()]
        requirements += _applying(further, {"", *requirement.extras})
    return names


@pytest.fixture(scope="module")
def serving(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment: the wheel, and links to what it declares to need, nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for name in _closure(_requirements(wheel)):
        files = distribution(name).files or ()
        for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    options = ["--no-deps", "--no-index", "--no-compile", "--quiet"]
    interpreter = folder / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(interpreter), "install", *options, str(wheel)],
        check=True,
    )
    return folder / "bin"


def _run(folder: Path, *command: Path | str) -> subprocess.CompletedProcess[str]:
    """How a command that runs in that folder ended."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


class TestServingEnvironment:
    """What the image holds, but for the operating system: the wheel and its dependencies."""

    def test_it_has_no_torch_and_knows_its_version(self, serving: Path, tmp_path: Path) -> None:
        assert "No module named 'torch'" in _run(tmp_path, serving / "python", "-c", "import torch").stderr
        version = _run(tmp_path, serving / "downshift", "--version").stdout
        assert version == f"downshift {PYPROJECT['project']['version']}\n"

    def test_it_has_one_package_of_ours_and_none_under_another_name(
        self, serving: Path, tmp_path: Path
    ) -> None:
        names = ("downshift", "models", "trainer", "runtime", "server", "tests", "benchmarks")
        script = f"from importlib.util import find_spec; print([n for n in {names} if find_spec(n)])"
        assert _run(tmp_path, serving / "python", "-c", script).stdout == "['downshift']\n"

    def test_its_python_api_labels_a_picture(self, serving: Path, tmp_path: Path) -> None:
        artifacts.write(tmp_path / "model.onnx", tiny_artifact())
        Image.new("RGB", (5, 5), (200, 30, 30)).save(tmp_path / "model.png")
        script = (
            "import downshift; print(downshift.load('model.onnx').predict('model.png', subnet='s1').subnet)"
        )
        done = subprocess.run(
            [serving / "python", "-c", script],
            cwd=tmp_path,
            env={"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "s1\n", done.stderr

    def test_training_is_refused_with_the_remedy(self, serving: Path, tmp_path: Path) -> None:
        done = _run(tmp_path, serving / "downshift", "train", "digits")
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "pip install 'downshift[train]'" in done.stderr

    def test_it_serves_pictures_and_stops_on_sigterm(self, serving: Path, tmp_path: Path) -> None:
        artifacts.write(tmp_path / "model.onnx", tiny_artifact())
        Image.new("RGB", (5, 5), (200, 30, 30)).save(tmp_path / "model.png")
        server = subprocess.Popen(
            [serving / "downshift", "serve", "model.onnx", "--port", "0"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            env={"HOME": str(tmp_path)},
        )
        assert server.stdout is not None
        started = ""
        for line in server.stdout:
            started += line
            if line.startswith("Open:"):
                break
        url = started.split()[-1]
        assert "--data-binary @model.png" in started
        with urllib.request.urlopen(f"{url}/predict", (tmp_path / "model.png").read_bytes()) as answer:
            assert json.load(answer)["subnet"] == "s0"
        with urllib.request.urlopen(url) as page:
            assert page.headers.get_content_type() == "text/html"
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=120)
        assert server.returncode == 0
