"""What Kubernetes sets for Services is no setting: it is ignored, with one line in the log."""

from __future__ import annotations

import logging

import pytest

from downshift.server.errors import BadSetting
from downshift.server.service_links import is_service_link
from downshift.server.settings import read_settings

LINKS = {
    "DOWNSHIFT_PORT": "tcp://10.0.0.1:8000",
    "DOWNSHIFT_SERVICE_HOST": "10.0.0.1",
    "DOWNSHIFT_SERVICE_PORT": "8000",
    "DOWNSHIFT_SERVICE_PORT_HTTP": "8000",
    "DOWNSHIFT_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "DOWNSHIFT_PORT_8000_TCP_PROTO": "tcp",
    "DOWNSHIFT_PORT_8000_TCP_PORT": "8000",
    "DOWNSHIFT_PORT_8000_TCP_ADDR": "10.0.0.1",
    "DOWNSHIFT_METRICS_PORT": "udp://[fd00::1]:9000",  # of a Service named downshift-metrics
    "DOWNSHIFT_METRICS_SERVICE_HOST": "fd00::1",
    "DOWNSHIFT_THREADS_PORT": "tcp://10.0.0.3:80",
}


def test_services_named_like_us_change_nothing_and_are_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = read_settings()
    for name, value in LINKS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DOWNSHIFT_THREADS", "3")
    with caplog.at_level(logging.WARNING, "downshift.server"):
        settings = read_settings()
    assert (settings.port, settings.metrics_port, settings.threads) == (plain.port, None, 3)
    [record] = caplog.records
    assert "service links are ignored (DOWNSHIFT_METRICS_PORT" in record.getMessage()
    assert read_settings(port=9001).port == 9001


@pytest.mark.parametrize("value", ["tcp://", "8000x", "http://10.0.0.1:8000", "tcp://10.0.0.1"])
def test_what_only_resembles_a_link_is_still_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DOWNSHIFT_PORT", value)
    with pytest.raises(BadSetting, match="DOWNSHIFT_PORT"):
        read_settings()
    assert not is_service_link("DOWNSHIFT_PORT", value)


def test_a_setting_that_does_not_exist_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DOWNSHIFT_API_KEY", "forgotten-plural")
    with caplog.at_level(logging.WARNING, "downshift.server"):
        read_settings()
    [record] = caplog.records
    assert record.getMessage().startswith("DOWNSHIFT_API_KEY: no such setting")
    assert "forgotten-plural" not in record.getMessage()
