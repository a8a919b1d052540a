"""The console command: takes signals before anything slow is imported, then runs the application."""

from __future__ import annotations

import io
import os
import signal
import sys

INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Run the command line; `serve` can be ended from its first moment, also as process 1 of a container.

    Process 1 ignores SIGTERM until it has a handler, and imports take a second or two. A SIGHUP meanwhile
    has nothing to reload yet and does nothing. The server replaces both handlers with its own: SIGTERM
    drains, SIGHUP reloads. Ctrl-C is exit code 130 at any moment.
    """
    if "serve" in sys.argv[1:2]:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which nohup asks for
            signal.signal(signal.SIGHUP, lambda *_: None)
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reports to nobody, and needs no home
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: file names need not be UTF-8
    try:
        from downshift.cli.main import app

        app(prog_name="downshift")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
