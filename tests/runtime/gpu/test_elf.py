"""The dynamic section of real libraries, compiled here, and of files that are none."""

from __future__ import annotations

import ctypes.util
import shutil
import subprocess
from pathlib import Path

import pytest

from downshift.runtime.gpu.elf import needed

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (cc)")


def compiled(folder: Path, name: str, *options: str) -> Path:
    """A shared library of that soname, linked with these options."""
    path = folder / name
    command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-x", "c", "-", "-o", str(path), *options]
    subprocess.run(command, input="int answer(void) { return 42; }", text=True, check=True)
    return path


@needs_compiler
def test_a_library_needs_what_it_was_linked_with_in_that_order(tmp_path: Path) -> None:
    compiled(tmp_path, "libfirst.so.1", "-nostdlib")
    compiled(tmp_path, "libsecond.so.22", "-nostdlib")
    links = [f"-L{tmp_path}", "-Wl,--no-as-needed", "-l:libsecond.so.22", "-l:libfirst.so.1"]
    assert needed(compiled(tmp_path, "libboth.so", "-nostdlib", *links)) == (
        "libsecond.so.22",
        "libfirst.so.1",
    )


@needs_compiler
def test_a_library_may_need_nothing(tmp_path: Path) -> None:
    assert needed(compiled(tmp_path, "libalone.so", "-nostdlib")) == ()


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"GROUP ( libm.so.6 )", b"\x7fELF\x01\x01" + bytes(60), bytes(64)]
)
def test_another_kind_of_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "libother.so"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"libother\.so is no 64-bit little-endian ELF file"):
        needed(path)


def test_python_itself_needs_the_c_library() -> None:
    """A file of the distribution, not of our compiler."""
    name = ctypes.util.find_library("c")
    modules = [Path(module) for module in map(str, Path(ctypes.__file__).parents[1].glob("lib-dynload/*.so"))]
    if name is None or not modules:
        pytest.skip("this Python has no extension modules as files")
    assert any(name in needed(module) for module in modules)
