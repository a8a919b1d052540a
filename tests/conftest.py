"""What holds for every test."""

from __future__ import annotations

import os

from hypothesis import settings


def pytest_configure() -> None:
    """Settings of the shell that runs the tests reach neither them nor the processes that they start.

    No example of a property has a deadline: 200 ms, the default, are little on a busy machine.
    """
    for name in [name for name in os.environ if name.startswith("DOWNSHIFT_")]:
        del os.environ[name]
    settings.register_profile("without a deadline", deadline=None)
    settings.load_profile("without a deadline")
