from __future__ import annotations

import unicodedata
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


def test_files_of_other_editors_hold_the_same_keys(tmp_path: Path) -> None:
    """A byte order mark, CR LF, CR, no end of the last line: none of it becomes part of a key."""
    file = tmp_path / "keys"
    for content in (
        b"\xef\xbb\xbfkey-number-1\r\nkey-number-2\r\n",
        b"\xef\xbb\xbf# a comment\r\nkey-number-1 # one\r\n\r\nkey-number-2",
        b"key-number-1\rkey-number-2\r",
        b"\tkey-number-1  \n  key-number-2\t\n",
    ):
        file.write_bytes(content)
        keys = read_keys("", file)
        for key in ("key-number-1", "key-number-2"):
            assert keys.accept([key]), content
        assert not keys.accept(["\ufeffkey-number-1", "key-number-1\r", "#"])


def test_a_number_sign_inside_a_key_is_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("key-number#1\n# key-number-2\n")
    keys = read_keys("", tmp_path / "keys")
    assert keys.accept(["key-number#1"])
    assert not keys.accept(["key-number"])
    assert not keys.accept(["key-number-2"])


@pytest.mark.parametrize(
    "key", ["schlüssel-eins", "ключ-номер-один", "鍵鍵鍵鍵鍵鍵鍵鍵", "cafe\u0301-numero", "key€number"]
)
def test_a_key_of_any_language_is_accepted_as_clients_send_it(tmp_path: Path, key: str) -> None:
    (tmp_path / "keys").write_text(key + "\n", encoding="utf-8")
    keys = read_keys("", tmp_path / "keys")
    for form in ("NFC", "NFD"):
        sent = unicodedata.normalize(form, key).encode("utf-8")
        assert keys.accept(sent_keys([(b"authorization", b"Bearer " + sent)]))
        assert keys.accept(sent_keys([(b"x-api-key", sent)]))
    assert not keys.accept(sent_keys([(b"x-api-key", key.encode("utf-8")[:-1])]))


def test_a_key_in_iso_8859_1_is_accepted_too() -> None:
    keys = read_keys("schlüssel-eins", None)
    assert keys.accept(sent_keys([(b"authorization", b"Bearer schl\xfcssel-eins")]))


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("key-num\u200bber", r"U\+200B"),
        ("key-num\0ber", r"U\+0000"),
        ("key-num\x07ber", r"U\+0007"),
        ("key-\udcffnumber", r"U\+DCFF"),
        ("key-\ufeffnumber", r"U\+FEFF"),
    ],
)
def test_a_key_that_nobody_could_send_is_refused_at_start(key: str, shown: str) -> None:
    with pytest.raises(BadSetting, match=shown) as refused:
        read_keys(key, None)
    assert key not in str(refused.value)


def test_keys_on_one_line_of_a_file_are_refused_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("key-number-1,key-number-2\n")
    with pytest.raises(BadSetting, match="a line of its own"):
        read_keys("", tmp_path / "keys")
    (tmp_path / "keys").write_bytes("key-number-1\n".encode("utf-16"))
    with pytest.raises(BadSetting, match="not UTF-8"):
        read_keys("", tmp_path / "keys")
