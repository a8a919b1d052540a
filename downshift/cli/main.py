"""The application: its commands, and how an error becomes one line and an exit code.

Each command imports what it needs when it runs, so that `downshift --help` answers at once. Exit codes: 0
done; 2 wrong input, explained by one line on stderr; 130 interrupted by Ctrl-C. Any other failure is a
defect of ours and shows its traceback.
"""

import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from downshift.cli import (
    doctor,
    evaluate,
    export,
    inspect,
    predict,
    profile,
    quantize,
    serve,
    simulate,
    train,
)
from downshift.cli.options import option
from downshift.errors import DownshiftError

TRAINING_ONLY = frozenset(
    {"torch", "torchvision", "onnxscript", "safetensors", "sklearn", "matplotlib", "tensorboard"}
)
WRONG_INPUT = 2


class Commands(TyperGroup):
    """The commands; each ends in an exit code, and an expected error in one line on stderr."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run the command that the arguments name, then exit."""
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except typer.TyperException as error:
            context = getattr(error, "ctx", None)
            usage = f" (see {context.command_path} --help)" if context else ""
            _refuse(f"{error.format_message().rstrip('.')}{usage}")
        except Exception as error:
            if (line := explain(error)) is None:
                raise
            _refuse(line)
        sys.exit(code or 0)


def explain(error: Exception) -> str | None:
    """The one line a user needs about an expected error; None for a defect of ours."""
    if isinstance(error, DownshiftError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and error.name in TRAINING_ONLY:
        return f"this needs {error.name}, which serving does without: pip install 'downshift[train]'"
    return None


def _refuse(message: str) -> NoReturn:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(WRONG_INPUT)


app = typer.Typer(
    cls=Commands,
    help="Dynamic inference: one sparse supernet, trained once, served at many speeds.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def overview(
    context: typer.Context,
    version: Annotated[bool, option("Print the version and exit", False, "--version")] = False,
) -> None:
    """Dynamic inference: one sparse supernet, trained once, served at many speeds."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"downshift {installed('downshift')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


for command, example in (
    (train.train, train.EXAMPLE),
    (evaluate.evaluate, evaluate.EXAMPLE),
    (inspect.inspect, inspect.EXAMPLE),
    (export.export, export.EXAMPLE),
    (quantize.quantize, quantize.EXAMPLE),
    (profile.profile, profile.EXAMPLE),
    (predict.predict, predict.EXAMPLE),
    (simulate.simulate, simulate.EXAMPLE),
    (serve.serve, serve.EXAMPLE),
    (doctor.doctor, doctor.EXAMPLE),
):
    app.command(epilog=f"Example: {example}")(command)


if __name__ == "__main__":
    app()
