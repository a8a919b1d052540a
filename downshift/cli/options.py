"""Arguments and options that several commands share, and how their help is written."""

from pathlib import Path
from typing import Annotated, Any

import typer

MOST_THREADS = 256  # as `downshift.runtime.machine` has it, which a help text does without
DATA = Path("data")


def argument(name: str, text: str) -> Any:
    """A positional argument, shown as that name."""
    return typer.Argument(metavar=name, help=text, show_default=False)


def option(text: str, default: str | bool = True, *flags: str, **limits: Any) -> Any:
    """An option with that help; default: the text to show for it, or whether to show it."""
    return typer.Option(*flags, help=text, show_default=default, **limits)


def check_output(out: Path) -> None:
    """Raise `typer.BadParameter` unless a file `out` can be written; to check before the work, not after."""
    if not out.parent.is_dir():
        raise typer.BadParameter(f"--out {out}: the folder {out.parent} does not exist; create it first")
    if out.is_dir():
        raise typer.BadParameter(f"--out {out}: this is a folder; name a file, such as {out / 'model.onnx'}")


Model = Annotated[str, argument("MODEL", "Artifact (a model.onnx file), or the name of a bundled network")]
Threads = Annotated[
    int | None,
    option("Threads for one sub-net's computation", "physical cores", min=1, max=MOST_THREADS),
]
Device = Annotated[
    str | None,
    option("GPU for GPU engines: cuda:1, a UUID, or cpu for none", "the first, where there is one"),
]
DataDir = Annotated[Path, option("Folder with the data sets; a missing one is downloaded into it")]
Json = Annotated[bool, option("Print JSON instead of text", False, "--json")]
