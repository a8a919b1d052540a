from __future__ import annotations

import os
from pathlib import Path

import pytest

from downshift.server.errors import BadInput, BadSetting
from downshift.server.repository.source import Folder, Source, read_sources


def test_a_model_is_called_like_its_file_or_as_it_is_named() -> None:
    assert read_sources(["runs/digits.onnx", "cats=runs/model.onnx", Path("x/dogs.onnx")]) == (
        Source("digits", Path("runs/digits.onnx")),
        Source("cats", Path("runs/model.onnx")),
        Source("dogs", Path("x/dogs.onnx")),
    )


def test_a_file_may_have_an_equals_sign_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "lr=0.1.onnx").touch()
    [source] = read_sources([tmp_path / "lr=0.1.onnx"])
    assert source == Source("lr=0.1", tmp_path / "lr=0.1.onnx")


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["a/model.onnx", "b/model.onnx"], "two models are called 'model': .* other=b/model.onnx"),
        (["=model.onnx"], "model name ''"),
        (["a/b=model.onnx"], "model name 'a/b'"),
        (["..=model.onnx"], "model name '..'"),
        (["two\nlines.onnx"], r"model name 'two\\nlines' holds a line break"),
        (["bell\a=model.onnx"], r"model name 'bell\\x07' holds a line break or control"),
        (["caf\udce9.onnx"], r"model name 'caf\\udce9' is not UTF-8: use a word"),
    ],
)
def test_names_must_be_words_of_their_own(texts: list[str], sentence: str) -> None:
    with pytest.raises(BadSetting, match=sentence):
        read_sources(texts)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    inside = tmp_path / "models"
    (inside / "old").mkdir(parents=True)
    for file in ("b.onnx", "a.onnx", "old/a.onnx", "notes.txt"):
        (inside / file).touch()
    (tmp_path / "secret.onnx").touch()
    (inside / "link.onnx").symlink_to(tmp_path / "secret.onnx")
    (inside / "loop.onnx").symlink_to("loop.onnx")
    return Folder(inside)


def test_a_folder_offers_the_artifacts_that_lie_in_it(folder: Folder) -> None:
    assert [source.name for source in folder.sources()] == ["a", "b", "link", "loop"]
    assert folder.file("old/a.onnx") == folder.path.resolve() / "old" / "a.onnx"
    assert folder.file("old/../b.onnx") == folder.path.resolve() / "b.onnx"


@pytest.mark.parametrize(
    "text",
    [
        *("../secret.onnx", "old/../../secret.onnx", "link.onnx", "loop.onnx", "/etc/passwd", "notes.txt"),
        *("old", "", ".", "absent.onnx", "a.onnx\0", "x" * 5000 + ".onnx", "~/a.onnx", "..\\secret.onnx"),
    ],
)
def test_nothing_outside_of_the_folder_can_be_named(folder: Folder, text: str) -> None:
    with pytest.raises(BadInput, match=r"is no \.onnx file inside"):
        folder.file(text)


def test_odd_hidden_and_unreadable_names_are_refused_by_name_and_the_others_go_on(tmp_path: Path) -> None:
    for name in (b"pets.onnx", b"caf\xe9.onnx", b"two\nlines.onnx", b"._pets.onnx", b".onnx", b"tab\t.onnx"):
        (tmp_path / os.fsdecode(name)).touch()
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "käse mit löchern.onnx").touch()
    folder = Folder(tmp_path)
    assert [source.name for source in folder.sources()] == ["käse mit löchern", "pets"]
    assert folder.refused() == {
        "caf\\udce9": "the file's name is not UTF-8: rename it",
        "two\\nlines": "the file's name holds a line break or control character: rename it",
        "tab\\t": "the file's name holds a line break or control character: rename it",
    }
