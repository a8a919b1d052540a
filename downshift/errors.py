"""The base of every error that Downshift raises on purpose.

    DownshiftError
    ├── models.errors.ModelsError       an artifact, network or sub-net
    ├── runtime.errors.RuntimeFault     a request, engine, profile or trace
    ├── trainer.errors.TrainerError     a recipe, data set or checkpoint
    ├── server.errors.ServerFault       an HTTP request or a server setting
    └── api.errors.ApiError             a call of the Python API

Anything else that leaves the package is a defect of ours.
"""


class DownshiftError(Exception):
    """Base of every error raised on purpose; the text is one sentence that names the value and the remedy."""


def first_line(error: BaseException) -> str:
    """The first line of a foreign error's text, without blanks around it; its kind where it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip()


def kind_and_first_line(error: BaseException) -> str:
    """A foreign error as `Kind: first line of its text`; `Kind` alone where it has no text."""
    kind, said = type(error).__name__, first_line(error)
    return said if said == kind else f"{kind}: {said}"
