"""The compose file wires what exists: our settings, our port, the folders beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from downshift.server.settings import Settings
from tests.deploy.monitoring import DEPLOY, PROMETHEUS, documents

FILE = DEPLOY / "compose.yaml"
[COMPOSE] = documents(FILE)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def mounts(service: str) -> dict[str, Path | str]:
    """Where each folder or volume is mounted, and what it is."""
    found: dict[str, Path | str] = {}
    for volume in SERVICES[service]["volumes"]:
        source, inside, *_ = volume.split(":")
        found[inside] = DEPLOY / source if source.startswith(".") else source
    return found


def test_every_mounted_folder_and_volume_exists() -> None:
    for service in SERVICES:
        for source in mounts(service).values():
            assert source.is_dir() if isinstance(source, Path) else source in COMPOSE["volumes"]


def test_the_server_is_set_up_as_its_settings_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    server = SERVICES["server"]
    assert (DEPLOY / server["build"] / "Dockerfile").resolve().is_file()
    for name, value in server["environment"].items():
        field = name.removeprefix("DOWNSHIFT_").lower()
        assert name.startswith("DOWNSHIFT_")
        assert field in Settings.model_fields
        monkeypatch.setenv(name, value)
    settings = Settings()
    dockerfile = (DEPLOY / server["build"] / "Dockerfile").read_text()
    [cache] = mounts("server")
    assert f"DOWNSHIFT_CACHE_DIR={cache}" in dockerfile
    assert f"--owner=downshift {cache}" in dockerfile  # else the volume would be root's
    grace = float(server["stop_grace_period"].removesuffix("s"))
    assert grace > settings.drain_seconds


def test_prometheus_scrapes_the_server_and_finds_its_rules() -> None:
    [configuration] = documents(PROMETHEUS / "prometheus.yml")
    [job] = configuration["scrape_configs"]
    port = SERVICES["server"]["environment"]["DOWNSHIFT_PORT"]
    assert job["static_configs"] == [{"targets": [f"server:{port}"]}]
    folder = mounts("prometheus")["/etc/prometheus"]
    assert isinstance(folder, Path)
    for name in ("prometheus.yml", *configuration["rule_files"]):
        assert (folder / name).is_file()


def test_grafana_is_provisioned_with_that_prometheus_and_our_dashboard() -> None:
    inside = mounts("grafana")
    provisioning, dashboards = inside["/etc/grafana/provisioning"], inside["/var/lib/grafana/dashboards"]
    assert isinstance(provisioning, Path)
    assert isinstance(dashboards, Path)
    [sources] = documents(provisioning / "datasources" / "prometheus.yaml")
    [source] = sources["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    [providers] = documents(provisioning / "dashboards" / "downshift.yaml")
    [provider] = providers["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (dashboards / Path(home).name).is_file()


def test_the_dashboard_is_whole() -> None:
    """Unique panels that do not overlap, each of whose targets asks the data source that was chosen."""
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "downshift.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
        assert panel["targets"], panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    for unique in ("id", "title"):
        assert len({panel[unique] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert [each["name"] for each in dashboard["templating"]["list"]] == ["datasource", "job", "instance"]


def test_docker_compose_accepts_it() -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("docker compose is not installed")
    subprocess.run([docker, "compose", "--file", str(FILE), "config", "--quiet"], check=True)
