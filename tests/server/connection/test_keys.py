from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from downshift.server.connection.keys import Keys, read_keys, sent_keys
from downshift.server.errors import BadSetting

if TYPE_CHECKING:
    from pathlib import Path


def test_only_a_whole_key_is_accepted() -> None:
    keys = Keys(["first-key", "second-key"])
    assert keys.accept(["first-key"])
    assert keys.accept(["second-key"])
    assert keys.accept(["wrong", "second-key"])
    for wrong in ([], [""], ["first"], ["first-key "], ["first-key,second-key"], ["FIRST-KEY"]):
        assert not keys.accept(wrong)


def test_without_keys_nobody_is_accepted() -> None:
    assert not Keys()
    assert not Keys().accept([""])
    assert Keys(["some-key"])


def test_a_key_cannot_be_printed() -> None:
    assert "first-key" not in f"{Keys(['first-key'])!r} {vars(Keys(['first-key']))}"


def test_a_request_offers_keys_in_two_headers() -> None:
    headers = [
        (b"x-api-key", b" one "),
        (b"authorization", b"bEARER  two"),
        (b"authorization", b"Digest three"),
        (b"cookie", b"four"),
        (b"x-api-key", b"\xff\x00"),
    ]
    assert sent_keys(headers) == ["one", "two", "\xff\x00"]


def test_keys_are_read_from_text_and_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# of the pipeline\nkey-number-3   # Ann's\n\nkey-number-4\n")
    keys = read_keys("key-number-1, key-number-2", file)
    assert all(keys.accept([f"key-number-{number}"]) for number in range(1, 5))
    assert not keys.accept(["Ann's"])
    assert not read_keys("", None)


def test_a_keys_file_without_keys_is_no_open_door(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# none yet\n")
    with pytest.raises(BadSetting, match="holds no key"):
        read_keys("", tmp_path / "keys")
    with pytest.raises(BadSetting, match="No such file"):
        read_keys("", tmp_path / "absent")
    (tmp_path / "keys").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSetting, match="not UTF-8"):
        read_keys("", tmp_path / "keys")


def test_a_key_that_can_be_guessed_is_refused_without_being_shown() -> None:
    with pytest.raises(BadSetting, match="fewer than 8 characters") as refused:
        read_keys("hunter2", None)
    assert "hunter2" not in str(refused.value)
