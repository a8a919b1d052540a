"""The console command: takes SIGTERM before anything slow is imported, then runs the application."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line; `serve` can be ended from its first moment, also as process 1 of a container.

    Process 1 ignores SIGTERM until it has a handler, and imports take a second or two. The server replaces
    this one with its own, which drains.
    """
    if "serve" in sys.argv[1:2]:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    from downshift.cli.main import app

    app(prog_name="downshift")


if __name__ == "__main__":
    main()
