"""Folders of classes: what is an image, what is a class, and which names training cannot use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from downshift.trainer.data.class_folders import list_class_folders, printable
from downshift.trainer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_classes_and_files_come_in_alphabetical_order(tmp_path: Path) -> None:
    touch(tmp_path / "dog" / "b.JPG", tmp_path / "dog" / "a.png", tmp_path / "cat" / "deep" / "z.webp")
    labels, files = list_class_folders(tmp_path)
    assert labels == ("cat", "dog")
    assert files.paths == tuple(
        str(tmp_path / part) for part in ("cat/deep/z.webp", "dog/a.png", "dog/b.JPG")
    )
    assert files.labels == (0, 1, 1)


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints", ".git", "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", ".Trash-1000"]
)
def test_hidden_and_system_folders_are_no_classes_and_hold_no_images(name: str, tmp_path: Path) -> None:
    touch(tmp_path / "cat" / "a.jpg", tmp_path / name / "b.jpg", tmp_path / "cat" / name / "c.jpg")
    labels, files = list_class_folders(tmp_path)
    assert labels == ("cat",)
    assert files.paths == (str(tmp_path / "cat" / "a.jpg"),)


def test_hidden_files_and_other_files_are_no_images(tmp_path: Path) -> None:
    touch(*(tmp_path / "cat" / name for name in ("a.jpg", "._a.jpg", ".DS_Store", "Thumbs.db", "notes.txt")))
    touch(tmp_path / "README.md")
    assert list_class_folders(tmp_path)[1].paths == (str(tmp_path / "cat" / "a.jpg"),)


@pytest.mark.parametrize("name", ["a.heic", "b.PPM", "c.avif"])
def test_images_that_could_not_be_served_are_not_left_out_silently(name: str, tmp_path: Path) -> None:
    touch(tmp_path / "cat" / "a.jpg", tmp_path / "cat" / name)
    with pytest.raises(DataError, match=rf"cat/{name} is in a format that is not read: convert it to JPEG"):
        list_class_folders(tmp_path)


def test_a_pipe_named_like_an_image_is_none(tmp_path: Path) -> None:
    touch(tmp_path / "cat" / "a.jpg")
    os.mkfifo(tmp_path / "cat" / "b.jpg")
    assert len(list_class_folders(tmp_path)[1]) == 1


def test_a_link_that_leads_back_is_followed_once(tmp_path: Path) -> None:
    touch(tmp_path / "cat" / "a.jpg")
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat")
    assert len(list_class_folders(tmp_path)[1]) == 1


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines", b"tab\tbed", b"\x1b[31m", "a\u2028b".encode()])
@pytest.mark.parametrize("where", ["class", "file"])
def test_a_name_that_no_manifest_could_carry_is_refused_in_one_line(
    name: bytes, where: str, tmp_path: Path
) -> None:
    odd = os.fsdecode(name)
    touch(tmp_path / "cat" / "a.jpg")
    touch(tmp_path / odd / "a.jpg" if where == "class" else tmp_path / "cat" / f"{odd}.jpg")
    with pytest.raises(DataError, match="not UTF-8 or holds a control character: rename it") as caught:
        list_class_folders(tmp_path)
    assert str(caught.value).isprintable()
    assert str(tmp_path) in str(caught.value)


def test_names_in_any_language_are_welcome(tmp_path: Path) -> None:
    names = ("Äpfel", "猫", "कुत्ता", "👩‍🚀", "hot dog")
    touch(*(tmp_path / name / f"{name}.jpg" for name in names))
    assert set(list_class_folders(tmp_path)[0]) == set(names)


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "cat" / "a.jpg", tmp_path / "dog" / "notes.txt")
    with pytest.raises(DataError, match="no image files in class folder dog: put some there, or remove"):
        list_class_folders(tmp_path)


def test_printable_text_stays_as_it_is_and_anything_else_is_escaped() -> None:
    assert printable("Äpfel/猫") == "Äpfel/猫"
    assert printable(os.fsdecode(b"caf\xe9\n")) == r"caf\xe9\n"
