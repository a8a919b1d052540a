"""Hook of the site's builder: links that leave `docs/` become the path of the file in the repository.

Pages are read in the repository, too, where such a link works; the site has no copy of the file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./([^)#\s]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page's text, such links written out; raises `FileNotFoundError` for a file that is not there."""
    return OUTSIDE.sub(_written_out, markdown)


def _written_out(link: re.Match[str]) -> str:
    text, path = link[1], link[2]
    if not (ROOT / path).exists():
        raise FileNotFoundError(f"a page links to {path}, which is not in the repository")
    named = path.rstrip("/").endswith(text.strip("`").rstrip("/"))
    return f"`{path}`" if named else f"{text} (`{path}`)"
