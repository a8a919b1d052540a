from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from downshift.runtime.scheduling.core import Limits
from downshift.runtime.scheduling.level import Thresholds
from downshift.server.connection.protocol import ConnectionLimits
from downshift.server.errors import BadSetting
from downshift.server.settings import PROTECTING, Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    Put = Callable[[str, str], None]


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    """Put the value of a setting into the environment: `put("port", "9001")` sets DOWNSHIFT_PORT."""
    return lambda name, value: monkeypatch.setenv(f"DOWNSHIFT_{name.upper()}", value)


def test_defaults_listen_on_loopback_only() -> None:
    settings = read_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.max_budget == 60.0


def test_the_environment_is_read_and_arguments_come_first(put: Put) -> None:
    put("port", "9001")
    put("cache_dir", "/var/cache/x")
    put("max_budget_ms", "250")
    settings = read_settings(port=None, threads=3)
    assert (settings.port, settings.threads, settings.max_budget) == (9001, 3, 0.25)
    assert settings.cache_dir == Path("/var/cache/x")
    assert read_settings(port=9002).port == 9002


@pytest.mark.parametrize(
    ("text", "engines"),
    [("", None), ('["onnxruntime"]', ("onnxruntime",)), ("onnxruntime, sparse", ("onnxruntime", "sparse"))],
)
def test_engines_are_listed_in_json_or_with_commas(
    text: str, engines: tuple[str, ...] | None, put: Put
) -> None:
    put("engines", text)
    assert read_settings().engines == engines


def test_what_the_scheduler_is_told_comes_from_settings() -> None:
    assert read_settings().limits == Limits(patience=60.0)
    chosen = read_settings(
        max_queue=7,
        max_budget_ms=500,
        load_rise_ms=50,
        load_fall_ms=5,
        load_rise_utilization=0.8,
        load_fall_utilization=0.5,
        load_rise_gpu=0.7,
        load_fall_gpu=0.6,
        load_hold_ms=100,
    )
    thresholds = Thresholds(
        rise_delay=0.05,
        fall_delay=0.005,
        rise_utilization=0.8,
        fall_utilization=0.5,
        rise_gpu=0.7,
        fall_gpu=0.6,
        hold=0.1,
    )
    assert chosen.limits == Limits(queued=7, patience=0.5, thresholds=thresholds)


NUMBERS = [
    name for name in Settings.model_fields if name.endswith(("_ms", "_seconds", "_connections", "body_bytes"))
]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORT", "70000", "'70000': .*65535"),
        ("THREADS", "0", "'0'"),
        ("THREADS", "257", "'257': .*256"),
        ("MAX_BUDGET_MS", "nan", "'nan'"),
        ("LOAD_FALL_UTILIZATION", "90", "'90'"),
        ("DRAIN_SECONDS", "long", "'long'"),
        ("ENGINES", "[]", r"\[\]"),
        ("ENGINES", "[1]", "1: "),
        # No timer or limit of the system takes such a number.
        *((name.upper(), "9" * 25, "'9+': .*less than or equal") for name in NUMBERS),
        # Else whoever meant to protect the server would serve unprotected.
        *((name.upper(), "", "'': is empty: name a file") for name in sorted(PROTECTING)),
    ],
)
def test_a_setting_that_cannot_be_is_named(name: str, value: str, sentence: str, put: Put) -> None:
    put(name, value)
    with pytest.raises(BadSetting, match=f"^DOWNSHIFT_{name} {sentence}"):
        read_settings()


def test_a_connection_is_bounded_as_the_operator_says() -> None:
    assert read_settings().connection_limits == ConnectionLimits()
    chosen = read_settings(max_connections=7, max_head_bytes=2048, head_seconds=1.5, body_seconds=2.5)
    assert chosen.connection_limits == ConnectionLimits(7, 2048, 1.5, 2.5)


def test_keys_come_from_text_and_file_and_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("of-a-client\n")
    settings = read_settings(api_keys_file=tmp_path / "keys", admin_keys="of-an-admin")
    assert settings.clients.accept(["of-a-client"])
    assert settings.admins.accept(["of-an-admin"])
    assert not settings.admins.accept(["of-a-client"])
    assert "of-an-admin" not in repr(settings)
    assert not read_settings().clients


def test_a_wrong_option_is_named_as_it_was_given() -> None:
    with pytest.raises(BadSetting, match=r"^--metrics-port 99999: .*65535"):
        read_settings(metrics_port=99999)


def test_every_setting_says_what_it_is() -> None:
    assert not [name for name, field in Settings.model_fields.items() if not field.description]


def test_an_empty_cache_folder_is_none_and_not_the_one_it_was_started_from(put: Put) -> None:
    put("cache_dir", "")
    assert Settings().cache_dir is None


@pytest.mark.parametrize("name", ["repository", "host", "port", "device", "engines", "access_log", "tune"])
def test_an_empty_variable_counts_as_unset(name: str, put: Put) -> None:
    default = read_settings()
    put(name, "")
    assert read_settings() == default


@pytest.mark.parametrize("unit", ["ms", "gpu"])
def test_load_falls_where_it_does_not_rise_again_at_once(unit: str) -> None:
    same = read_settings(**{f"load_rise_{unit}": 0.5, f"load_fall_{unit}": 0.5})
    assert getattr(same, f"load_fall_{unit}") == 0.5
    with pytest.raises(BadSetting, match=f"^--load-fall-{unit} 0.6: give at most load_rise_{unit}, .* 0.5"):
        read_settings(**{f"load_rise_{unit}": 0.5, f"load_fall_{unit}": 0.6})
