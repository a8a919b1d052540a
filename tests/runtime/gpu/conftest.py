from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runtime.gpu.fake_driver import FakeDriver

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def driver(tmp_path: Path) -> FakeDriver:
    return FakeDriver(tmp_path / "driver")
