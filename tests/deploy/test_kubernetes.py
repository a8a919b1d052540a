"""The manifests name what exists: ports, probe paths, settings, metrics, and one another."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from downshift.server.connection.probe import Probe
from downshift.server.settings import Settings
from tests.deploy.monitoring import DEPLOY, documents, known, named
from tests.server.doubles import serving

FOLDER = DEPLOY / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
MANIFESTS = {document["kind"]: document for path in FILES for document in documents(path)}
POD = MANIFESTS["Deployment"]["spec"]["template"]
CONTAINERS = {
    "Deployment": POD["spec"]["containers"][0],
    "ServingRuntime": MANIFESTS["ServingRuntime"]["spec"]["containers"][0],
}


def settings(container: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the server makes of the container's environment."""
    for variable in container["env"]:
        assert variable["name"].startswith("DOWNSHIFT_")
        assert variable["name"].removeprefix("DOWNSHIFT_").lower() in Settings.model_fields
        monkeypatch.setenv(variable["name"], variable["value"])
    return Settings()


def probes(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every probe's request, by the probe's name."""
    return {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}


def number(container: dict[str, Any], port: str | int) -> int:
    """The number of a port of the container, which may be named."""
    ports = {each.get("name", each["containerPort"]): each["containerPort"] for each in container["ports"]}
    found: int = ports[port]
    return found


def test_there_is_one_of_every_kind() -> None:
    assert set(MANIFESTS) == {
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "ScaledObject",
        "ServingRuntime",
        "InferenceService",
    }


@pytest.mark.parametrize("kind", ["Deployment", "Service", "PodDisruptionBudget"])
def test_kubernetes_own_kinds_are_as_its_schema_has_them(kind: str) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    validator.validate(MANIFESTS[kind], validator.latest_version(), strict=True)


@pytest.mark.parametrize("kind", sorted(CONTAINERS))
async def test_the_probes_ask_what_the_server_answers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    container = CONTAINERS[kind]
    made = settings(container, monkeypatch)
    for ready in (True, False):
        async with serving(ready=ready) as served:
            second = httpx2.ASGITransport(Probe(served.catalog, served.metrics.exposition))
            async with httpx2.AsyncClient(transport=second, base_url="http://server") as prober:
                ports = {made.port: served.client, made.metrics_port: prober}
                for name, request in probes(container).items():
                    client = ports[number(container, request["port"])]
                    passed = (await client.get(request["path"])).status_code == 200
                    assert passed is (ready or name == "livenessProbe")


@pytest.mark.parametrize("kind", sorted(CONTAINERS))
def test_the_server_listens_to_others_and_has_its_cores_to_itself(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = CONTAINERS[kind]
    made = settings(container, monkeypatch)
    assert made.host == "0.0.0.0"
    resources = container["resources"]
    assert resources["requests"] == resources["limits"]
    assert made.threads is not None
    assert int(resources["limits"]["cpu"]) > made.threads


def test_a_pod_that_must_go_has_the_time_to_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    made = settings(CONTAINERS["Deployment"], monkeypatch)
    pause = 5
    assert f"sleep({pause})" in CONTAINERS["Deployment"]["lifecycle"]["preStop"]["exec"]["command"][-1]
    assert POD["spec"]["terminationGracePeriodSeconds"] > pause + made.drain_seconds


def test_the_metrics_are_where_the_annotations_say(monkeypatch: pytest.MonkeyPatch) -> None:
    made = settings(CONTAINERS["Deployment"], monkeypatch)
    annotations = POD["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(made.metrics_port)
    assert number(CONTAINERS["Deployment"], "metrics") == made.metrics_port
    assert annotations["prometheus.io/path"] == "/metrics"
    kserve = MANIFESTS["ServingRuntime"]["spec"]["annotations"]
    assert kserve["prometheus.kserve.io/port"] == str(number(CONTAINERS["ServingRuntime"], 8080))


def test_writable_folders_are_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    container = CONTAINERS["Deployment"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(settings(container, monkeypatch).cache_dir), "/tmp"} == mounted
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        each["name"] for each in POD["spec"]["volumes"]
    }


def test_the_manifests_mean_one_another() -> None:
    labels = POD["metadata"]["labels"]
    assert MANIFESTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    assert MANIFESTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    for port in MANIFESTS["Service"]["spec"]["ports"]:
        assert number(CONTAINERS["Deployment"], port["targetPort"])
    scaled = MANIFESTS["ScaledObject"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == MANIFESTS["Deployment"]["metadata"]["name"]
    assert scaled["minReplicaCount"] == MANIFESTS["Deployment"]["spec"]["replicas"] > 1
    model = MANIFESTS["InferenceService"]["spec"]["predictor"]["model"]
    runtime = MANIFESTS["ServingRuntime"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in {each["name"] for each in runtime["spec"]["supportedModelFormats"]}
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_replicas_follow_metrics_that_exist() -> None:
    for trigger in MANIFESTS["ScaledObject"]["spec"]["triggers"]:
        assert trigger["type"] == "prometheus"
        names = named(trigger["metadata"]["query"])
        assert names
        assert names <= known()
        assert float(trigger["metadata"]["threshold"]) > 0


@pytest.mark.parametrize("kind", sorted(CONTAINERS))
def test_the_image_runs_commands_that_exist(kind: str) -> None:
    from downshift.cli.main import app

    command, *_ = CONTAINERS[kind]["args"]
    assert command in {
        each.name or each.callback.__name__ for each in app.registered_commands if each.callback
    }
