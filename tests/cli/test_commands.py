"""The command line: what each command prints, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnxruntime
import pytest
from PIL import Image
from typer.testing import CliRunner

from downshift.cli import main, options
from downshift.models import artifact as artifacts
from downshift.models import manifest_json
from downshift.models.materialize import materialize
from downshift.runtime.engines import table
from downshift.runtime.machine import MOST_THREADS
from tests.models.tiny_artifact import tiny_artifact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer.testing import Result

COMMANDS = (
    *("train", "evaluate", "inspect", "export", "quantize"),
    *("profile", "predict", "simulate", "serve", "doctor"),
)
HEAVY = {
    "torch",
    "onnx",
    "onnxruntime",
    "numpy",
    "fastapi",
    "pydantic",
    "uvicorn",
    "PIL",
    "prometheus_client",
}
OURS = {"models", "trainer", "runtime", "server"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every test starts in one folder, with a model and a picture; profiles are kept in another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "120")
        for forced in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
            patch.delenv(forced, raising=False)
        patch.setenv("PYTHONPATH", str(Path(main.__file__).parents[2]))
        patch.setenv("DOWNSHIFT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("here")
        patch.chdir(folder)
        artifacts.write(folder / "model.onnx", tiny_artifact())
        Image.new("RGB", (7, 9), (200, 30, 30)).save(folder / "red.png")
        yield


def run(*arguments: str) -> Result:
    """The command line's answer, given in this process."""
    return CliRunner().invoke(main.app, arguments)


def run_json(*arguments: str) -> Any:
    """The parsed standard output of a command that succeeds and says nothing on standard error."""
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


class TestHelp:
    def test_help_imports_nothing_heavy_and_nothing_of_ours(self) -> None:
        script = """
import atexit, sys
atexit.register(lambda: print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr))
from downshift.cli import main
main.app()
"""
        command = [sys.executable, "-c", script, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "Usage" in done.stdout
        imported = set(done.stderr.split())
        assert {"downshift", "typer"} <= imported
        assert not imported & (HEAVY | OURS)

    def test_without_a_command_the_help_is_shown(self) -> None:
        result = run()
        assert result.exit_code == 0
        assert all(command in result.stdout for command in COMMANDS)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_shows_an_example_that_it_would_take(self, command: str) -> None:
        (example,) = re.findall(r"Example: (downshift .*)", run(command, "--help").stdout)
        program, name, *arguments = shlex.split(example)
        assert (program, name) == ("downshift", command)
        assert run(name, *arguments, "--help").exit_code == 0
        assert run(name, *arguments, "--nonsense", "--help").exit_code == 2

    def test_an_extra_is_named_in_whole(self) -> None:
        assert "downshift[otel]" in run("serve", "--help").stdout

    def test_the_limits_are_those_of_what_they_limit(self) -> None:
        assert options.MOST_THREADS == MOST_THREADS

    def test_all_commands_are_covered_here(self) -> None:
        shown = re.findall(r"^│ (\w+) ", run("--help").stdout.partition("Commands")[2], re.MULTILINE)
        assert shown == list(COMMANDS)


class TestInspect:
    def test_json_is_the_manifest(self) -> None:
        text = run("inspect", "model.onnx", "--json").stdout
        assert manifest_json.loads(text) == tiny_artifact().manifest

    def test_the_table_has_one_row_for_each_sub_net(self) -> None:
        rows = [line.split() for line in run("inspect", "model.onnx").stdout.splitlines()]
        assert [row[0] for row in rows if row and re.fullmatch(r"s\d", row[0])] == ["s0", "s1", "s2"]

    def test_accuracy_has_its_standard_error_where_that_is_known(self) -> None:
        found = tiny_artifact()
        first, *others = found.manifest.subnets
        measured = (replace(first, accuracy=0.9, standard_error=0.004), *others)
        artifacts.write("measured.onnx", replace(found, manifest=replace(found.manifest, subnets=measured)))
        printed = run("inspect", "measured.onnx").stdout
        assert "90.00 ± 0.40 %" in printed
        assert "± its standard error" in printed
        assert "±" not in run("inspect", "model.onnx").stdout

    def test_a_table_in_a_pipe_is_not_cut_off_and_not_coloured(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "downshift", "inspect", "model.onnx"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "20"},
        )
        assert "non-zeros" in done.stdout
        assert "\x1b" not in done.stdout


class TestQuantize:
    def test_a_folder_with_classes_gives_every_sub_net_an_accuracy(self, tmp_path: Path) -> None:
        for label in tiny_artifact().manifest.labels:
            (tmp_path / label).mkdir()
            for shade in (10, 200):
                Image.new("RGB", (5, 5), (shade,) * 3).save(tmp_path / label / f"{shade}.png")
        out = tmp_path / "int8.onnx"
        said = run_json("quantize", "model.onnx", "--data", str(tmp_path), "--out", str(out), "--json")
        assert (said["calibration_images"], said["validation_images"]) == (5, 1)
        subnets = artifacts.read(out).manifest.subnets
        assert [row["int8"] for row in said["subnets"]] == [s.int8 and s.int8.accuracy for s in subnets]
        assert all(row["quantised"] and row["int8"] is not None for row in said["subnets"])

    def test_plain_images_leave_the_accuracy_unknown_and_the_command_says_so(self, tmp_path: Path) -> None:
        Image.new("RGB", (5, 5), (10, 20, 30)).save(tmp_path / "one.png")
        out = tmp_path / "int8.onnx"
        result = run("quantize", "model.onnx", "--data", str(tmp_path), "--out", str(out))
        assert result.exit_code == 0
        assert "on 1 images, int8 accuracy unknown: these images have no labels" in result.stdout
        assert all(s.int8 and s.int8.accuracy is None for s in artifacts.read(out).manifest.subnets)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "give either --dataset NAME or --data FOLDER"),
            (("--dataset", "digits", "--data", "."), "give either --dataset NAME or --data FOLDER"),
            (("--data", "absent"), "absent is no folder"),
        ],
    )
    def test_wrong_input_is_said_and_writes_nothing(
        self, arguments: tuple[str, ...], said: str, tmp_path: Path
    ) -> None:
        result = run("quantize", "model.onnx", "--out", str(tmp_path / "out.onnx"), *arguments)
        assert result.exit_code == 2
        assert said in " ".join(result.stderr.replace("│", " ").split())
        assert not list(tmp_path.iterdir())

    def test_an_output_that_could_not_be_written_is_refused_before_the_work(self, tmp_path: Path) -> None:
        result = run("quantize", "model.onnx", "--data", "absent", "--out", str(tmp_path / "no" / "out.onnx"))
        assert result.exit_code == 2
        assert "does not exist; create it first" in " ".join(result.stderr.replace("│", " ").split())


class TestExport:
    def test_the_file_is_the_materialised_sub_net_and_runs_in_plain_onnxruntime(self) -> None:
        assert run("export", "model.onnx", "--subnet", "s2", "-o", "s2.onnx").exit_code == 0
        assert onnx.load("s2.onnx") == materialize(tiny_artifact(), "s2")
        session = onnxruntime.InferenceSession("s2.onnx", providers=["CPUExecutionProvider"])
        assert [output.name for output in session.get_outputs()] == ["logits"]

    def test_an_unknown_sub_net_writes_nothing(self, tmp_path: Path) -> None:
        result = run("export", "model.onnx", "--subnet", "s7", "-o", str(tmp_path / "s7.onnx"))
        assert result.exit_code == 2
        assert "choose one of s0, s1, s2" in result.stderr
        assert not list(tmp_path.iterdir())


class TestProfile:
    FIELDS = ("subnet", "sparsity", "accuracy", "engine", "batch_size", "p50", "p95", "p99", "chosen")

    def test_json_is_one_measurement_for_each_sub_net_engine_and_batch_size(self) -> None:
        rows = run_json("profile", "model.onnx", "--json")
        assert {tuple(row) for row in rows} == {self.FIELDS}
        assert {row["subnet"] for row in rows} == {"s0", "s1", "s2"}
        assert all(0 < row["p50"] <= row["p95"] <= row["p99"] < 10 for row in rows)
        places = [(row["subnet"], row["batch_size"]) for row in rows if row["chosen"]]
        assert sorted(places) == sorted({(row["subnet"], row["batch_size"]) for row in rows})

    def test_a_profile_is_kept_until_it_is_asked_for_anew(self) -> None:
        kept = run_json("profile", "model.onnx", "--json")
        assert run_json("profile", "model.onnx", "--json") == kept
        assert run_json("profile", "model.onnx", "--remeasure", "--json") != kept

    def test_the_table_is_in_milliseconds(self) -> None:
        kept = run_json("profile", "model.onnx", "--json")
        rows = [line.split() for line in run("profile", "model.onnx").stdout.splitlines()]
        shown = [row[5] for row in rows if row and re.fullmatch(r"s\d", row[0])]
        assert shown == [f"{row['p50'] * 1e3:.3f}" for row in kept]

    def test_a_picture_needs_measured_accuracies(self, tmp_path: Path) -> None:
        result = run("profile", "model.onnx", "--plot", str(tmp_path / "p.png"))
        assert (result.exit_code, result.stdout) == (2, "")
        assert "no measured accuracy" in result.stderr
        assert not list(tmp_path.iterdir())


class TestPredict:
    def test_without_a_budget_the_densest_sub_net_answers(self) -> None:
        answer = run_json("predict", "model.onnx", "red.png", "--json")
        assert answer["subnet"] == "s0"
        assert {entry["label"] for entry in answer["predictions"]} == {"cat", "dog", "bird"}
        probabilities = [entry["probability"] for entry in answer["predictions"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1.0)

    def test_a_named_sub_net_answers(self) -> None:
        assert run_json("predict", "model.onnx", "red.png", "--subnet", "s2", "--json")["subnet"] == "s2"

    def test_the_table_names_label_and_sub_net(self) -> None:
        answer = run_json("predict", "model.onnx", "red.png", "--json")
        shown = run("predict", "model.onnx", "red.png", "--budget-ms", "10000").stdout
        assert shown.index(answer["predictions"][0]["label"]) < shown.index(
            answer["predictions"][-1]["label"]
        )
        assert "sub-net s0" in shown


class TestWrongInput:
    """One line on stderr that names value and remedy, exit code 2, nothing on stdout."""

    CASES = (
        ("insect", "insect"),
        ("inspect", "Missing argument 'MODEL'"),
        ("inspect model.onnx --yaml", "--yaml"),
        ("inspect absent.onnx", "absent.onnx"),
        ("inspect red.png", "artifact"),
        ("export model.onnx --subnet s1 -o absent/s1.onnx", "the folder absent does not exist"),
        ("export model.onnx --subnet s1 -o .", "this is a folder; name a file"),
        ("profile model.onnx --threads 0", "--threads"),
        ("profile model.onnx --threads 257", "--threads"),
        ("serve model.onnx --metrics-port -1", "--metrics-port -1"),
        ("predict model.onnx absent.png", "absent.png"),
        ("predict model.onnx model.onnx", "not a JPEG, PNG, WebP, GIF, BMP or TIFF"),
        ("predict model.onnx red.png --budget-ms -5", "-5"),
        ("predict model.onnx red.png --budget-ms nan", "nan"),
        ("predict model.onnx red.png --budget-ms 0.000001", "budget"),
        ("predict model.onnx red.png --subnet s7", "choose one of s0, s1, s2"),
        ("predict model.onnx red.png --min-accuracy 0.9", "no measured accuracy"),
        ("inspect cifar10", "unknown file or bundled network 'cifar10'"),
        ("serve absent.onnx --port 0", "absent.onnx"),
        ("serve model.onnx --port 99999", "99999"),
        ("train nonsense", "unknown recipe 'nonsense'"),
        ("train digits --set run.epoch=3", "run.epoch"),
        ("train mnist --data-dir absent --set run.epochs=1", "absent"),
        ("evaluate model.onnx --dataset digits", "10 classes"),
        ("evaluate model.onnx --dataset nonsense", "nonsense"),
    )

    @pytest.mark.parametrize(("line", "named"), CASES, ids=[line for line, _ in CASES])
    def test_it_ends_in_one_line_and_code_2(self, line: str, named: str) -> None:
        result = run(*line.split())
        assert result.exit_code == 2
        assert result.stdout == ""
        (told,) = result.stderr.splitlines()
        assert told.startswith("error: ")
        assert named in told

    def test_a_port_in_use_is_told_before_anything_is_loaded(self) -> None:
        with _Server("model.onnx") as server:
            result = run("serve", "absent.onnx", "--port", server.url.rpartition(":")[2])
        assert result.exit_code == 2
        (told,) = result.stderr.splitlines()
        assert "choose another with --port" in told


class TestExplain:
    def test_every_base_error_of_ours_is_recognised(self) -> None:
        from downshift.models.errors import ModelsError
        from downshift.runtime.errors import RuntimeFault
        from downshift.server.errors import ServerFault
        from downshift.trainer.errors import TrainerError

        for base in (ModelsError, RuntimeFault, ServerFault, TrainerError):
            derived = type("Derived", (base,), {})
            assert main.explain(derived("what and why")) == "what and why"

    def test_a_missing_training_library_is_told_with_its_remedy(self) -> None:
        told = main.explain(ModuleNotFoundError("No module named 'torch'", name="torch"))
        assert told is not None
        assert "downshift[train]" in told

    @pytest.mark.parametrize(
        "defect", [ValueError("x"), ModuleNotFoundError("x", name="models.lost"), OSError("x")]
    )
    def test_a_defect_of_ours_keeps_its_traceback(self, defect: Exception) -> None:
        assert main.explain(defect) is None


class TestTerminal:
    """On a terminal of its own."""

    @staticmethod
    def _shown(**environment: str) -> str:
        ours, theirs = pty.openpty()
        with os.fdopen(ours, "rb", buffering=0) as screen:
            subprocess.run(
                [sys.executable, "-m", "downshift", "inspect", "--help"],
                stdout=theirs,
                stderr=theirs,
                check=True,
                env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", **environment},
            )
            os.close(theirs)
            shown = b""
            try:
                while piece := screen.read(4096):
                    shown += piece
            except OSError:  # Linux's way to say that a terminal's other end is closed
                pass
        return shown.decode()

    COLOUR = re.compile(r"\x1b\[(\d+;)*(3\d|9\d)[;m]")

    def test_help_is_coloured(self) -> None:
        assert self.COLOUR.search(self._shown())

    def test_no_color_is_honoured(self) -> None:
        assert not self.COLOUR.search(self._shown(NO_COLOR="1"))


class _Server:
    """`downshift serve` in a process of its own on a free port; tells what it imported when it ends."""

    SCRIPT = """
import atexit, sys
atexit.register(lambda: print("imported", *{name.partition(".")[0] for name in sys.modules}))
from downshift.cli import main
main.app()
"""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-c", self.SCRIPT, "serve", *arguments, "--port", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.url = ""

    def __enter__(self) -> _Server:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("Open:"):
                self.url = line.split()[1]
                return self
        raise AssertionError(f"the server ended: {self._process.communicate()}")

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGTERM)

    def stop(self, how: signal.Signals) -> tuple[int, str, str]:
        """Exit code, standard output since the start-up text, standard error."""
        self._process.send_signal(how)
        out, err = self._process.communicate(timeout=120)
        return self._process.returncode, out, err


class TestServe:
    def test_it_answers_without_torch_and_ends_well_on_sigterm(self) -> None:
        with _Server("model.onnx") as server:
            headers = {"X-Subnet": "s1", "X-Latency-Budget-Ms": "10000"}
            picture = Path("red.png").read_bytes()
            question = urllib.request.Request(f"{server.url}/predict", picture, headers)
            with urllib.request.urlopen(question) as answer:
                assert answer.headers["X-Subnet"] == "s1"
                assert json.load(answer)["predictions"][0]["label"] in {"cat", "dog", "bird"}
            code, out, err = server.stop(signal.SIGTERM)
        assert (code, err) == (0, "")
        imported = set(out.rpartition("imported")[2].split())
        assert {"onnxruntime", "fastapi"} <= imported
        assert not imported & {"torch", "torchvision", "trainer"}


class TestInterrupt:
    def test_training_ends_with_130_and_leaves_nothing_half_written(self, tmp_path: Path) -> None:
        small = ["network.width=0.25", "run.batch_size=512", "run.evaluate_every=1", "run.epochs=10000"]
        arguments = ["train", "digits", "--out", str(tmp_path / "run")]
        arguments += [part for setting in small for part in ("--set", setting)]
        # A shell's background jobs ignore Ctrl-C and hand that down: do not let the run inherit it.
        inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "downshift", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        finally:
            signal.signal(signal.SIGINT, inherited)
        with process:
            assert process.stderr is not None
            first = process.stderr.readline()
            process.send_signal(signal.SIGINT)
            try:
                _, err = process.communicate(timeout=300)
            finally:
                process.kill()
        assert process.returncode == 130, first + err
        assert "Traceback" not in err
        assert not list(tmp_path.rglob("*.part"))

    @pytest.mark.parametrize(
        "line",
        [
            "inspect model.onnx",
            "export model.onnx --subnet s1 -o interrupted.onnx",
            "quantize model.onnx --data . --out interrupted.onnx",
            "evaluate model.onnx --dataset digits",
            "profile model.onnx --remeasure",
            "predict model.onnx red.png",
            "simulate --profile model.onnx --trace poisson:rate=9,seconds=1",
        ],
    )
    def test_every_command_ends_with_130_and_no_traceback(
        self, line: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(path: str | Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(artifacts, "read", interrupted)
        result = run(*line.split())
        assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")
        assert not Path("interrupted.onnx").exists()


class TestDoctor:
    def test_every_engine_of_the_table_is_told_of(self) -> None:
        told = run_json("doctor", "--json")
        assert [each["engine"] for each in told] == list(table.ENGINES)
        works = {each["engine"]: each["works"] for each in told}
        assert works["onnxruntime"]
        for each in told:
            assert each["works"] == (each["missing"] is None) == (each["remedy"] is None)

    def test_text_says_in_one_line_what_is_missing(self) -> None:
        told, text = run_json("doctor", "--json"), run("doctor").stdout
        for each in told:
            line = f"{each['engine']}: {each['missing']}; {each['remedy']}"
            assert (line in text) == (not each["works"])
