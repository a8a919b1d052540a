"""Draws the documentation's pictures: `python -m docs.tools.draw` from the root of the repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from docs.tools import front, request_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FOLDER = Path(__file__).parents[1] / "pictures"
PICTURES: Mapping[str, Callable[[], str]] = {"front.svg": front.draw, "request.svg": request_path.draw}


def main() -> None:
    """Write every picture."""
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
