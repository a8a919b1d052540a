from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from downshift.server.repository.gc_freeze import collect_and_freeze

if TYPE_CHECKING:
    from collections.abc import Iterator


class Knot:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_there_is_not_looked_at_again_and_what_comes_later_is() -> None:
    kept = Knot()
    collect_and_freeze()
    assert gc.get_freeze_count() > 1000
    assert not any(each is kept for each in gc.get_objects())
    late = weakref.ref(Knot())
    gc.collect()
    assert late() is None


def test_what_has_become_garbage_meanwhile_goes_when_it_is_called_again() -> None:
    old = Knot()
    collect_and_freeze()
    seen = weakref.ref(old)
    del old
    gc.collect()
    assert seen() is not None
    collect_and_freeze()
    assert seen() is None
