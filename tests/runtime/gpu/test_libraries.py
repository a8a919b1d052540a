"""What onnxruntime's GPU providers need is what our extras bring, apart from driver and system."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from downshift.runtime.errors import DeviceUnavailable
from downshift.runtime.gpu import libraries
from downshift.runtime.gpu.elf import needed
from downshift.runtime.gpu.libraries import (
    DRIVER,
    EXTRAS,
    FILES,
    OPENED,
    SYSTEM,
    WHEELS,
    located,
    provider_file,
    wanted,
)

ROOT = Path(__file__).parents[3]
OPTIONAL = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PROVIDERS = tuple(FILES)


def brought(extra: str) -> dict[str, Requirement]:
    """Wheel -> requirement, of that extra and those that it includes."""
    found = {}
    for requirement in map(Requirement, OPTIONAL[extra]):
        if requirement.name == "downshift":
            for inner in requirement.extras:
                found |= brought(inner)
        else:
            found[requirement.name] = requirement
    return found


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_library_that_a_provider_needs_is_in_a_wheel_of_its_extra(provider: str) -> None:
    """By the metadata alone: the wheels need not be installed, onnxruntime-gpu always is."""
    linked = set(needed(provider_file(provider)))
    assert linked & DRIVER <= {"libcuda.so.1"}
    from_wheels = (linked | set(OPENED[provider])) - SYSTEM - DRIVER
    assert from_wheels, "a provider that needs nothing is not the one that is meant"
    asked = brought(EXTRAS[provider])
    assert [soname for soname in from_wheels if WHEELS.get(soname) not in asked] == []


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_a_provider_opens_by_name_is_named_in_its_file_or_in_onnxruntimes(provider: str) -> None:
    folder = provider_file(provider).parent
    text = b"".join(path.read_bytes() for path in folder.glob("*.so*") if path.stat().st_size < 40 * 2**20)
    text += provider_file(provider).read_bytes()
    assert [name for name in OPENED[provider] if name.encode() not in text] == []


def test_no_wheel_is_asked_for_that_brings_nothing_needed() -> None:
    assert set(brought("tensorrt")) == set(WHEELS.values())


@pytest.mark.parametrize(("soname", "wheel"), WHEELS.items())
def test_an_installed_wheel_has_the_version_asked_for_and_the_library_and_its_needs(
    soname: str, wheel: str
) -> None:
    """The walk: from each library to what it needs itself, until only driver and system are left."""
    try:
        installed = distribution(wheel).version
    except PackageNotFoundError:
        pytest.skip(f"{wheel} is not installed: pip install 'downshift[tensorrt]'")
    assert installed in brought("tensorrt")[wheel].specifier
    path = located(soname)
    assert path is not None, f"{wheel} {installed} does not bring {soname}"
    siblings = {file.name for file in path.parent.iterdir()}
    for below in needed(path):
        assert below in SYSTEM | DRIVER | siblings or below in WHEELS, f"{soname} needs {below}"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_library_comes_after_all_that_it_needs(provider: str) -> None:
    order = wanted(provider)
    assert not set(order) & (SYSTEM | DRIVER)
    for position, soname in enumerate(order):
        path = located(soname)
        below = set(needed(path)) if path is not None else set()
        assert below & set(order) <= set(order[:position])


def test_the_first_library_that_is_nowhere_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(libraries, "wanted", lambda provider: ("libc.so.6", "libnowhere.so.13"))
    monkeypatch.setattr(libraries, "located", lambda soname: None)
    with pytest.raises(DeviceUnavailable, match=r"^libnowhere\.so\.13 cannot be loaded") as caught:
        libraries.preload("CUDAExecutionProvider")
    assert caught.value.remedy == "pip install 'downshift[cuda]'"


def test_everything_that_is_installed_can_be_opened_without_a_driver() -> None:
    missing = [name for name in wanted("CUDAExecutionProvider") if located(name) is None]
    if missing:
        pytest.skip(f"{WHEELS[missing[0]]} is not installed: pip install 'downshift[cuda]'")
    libraries.preload("CUDAExecutionProvider")
    maps = Path("/proc/self/maps").read_text()
    assert all(re.search(re.escape(name), maps) for name in wanted("CUDAExecutionProvider"))
