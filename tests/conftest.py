"""What holds for every test."""

from __future__ import annotations

import os

KEPT = "DOWNSHIFT_DATA_DIR"  # names the folder of the real data sets


def pytest_configure() -> None:
    """Settings of the shell that runs the tests reach neither them nor the processes that they start."""
    for name in [name for name in os.environ if name.startswith("DOWNSHIFT_") and name != KEPT]:
        del os.environ[name]
