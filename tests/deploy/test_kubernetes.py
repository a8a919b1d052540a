"""The manifests name what exists: ports, probe paths, settings, metrics, and one another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from kubernetes_validate import ValidationError, latest_version, validate

from downshift.server.connection.probe import Probe
from downshift.server.settings import Settings
from tests.deploy.monitoring import DEPLOY, documents, known, named
from tests.server.clients.served import client, run
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
        "HorizontalPodAutoscaler",
        "ConfigMap",
        "ScaledObject",
        "ServingRuntime",
        "InferenceService",
    }


OWN = ["Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ConfigMap"]


@pytest.mark.parametrize("kind", OWN)
def test_kubernetes_own_kinds_are_as_its_schema_has_them(kind: str) -> None:
    validate(MANIFESTS[kind], latest_version(), strict=True)


def test_a_misspelt_field_of_kubernetes_own_kinds_is_found() -> None:
    wrong = MANIFESTS["Service"] | {"specs": {}}
    with pytest.raises(ValidationError, match="specs"):
        validate(wrong, latest_version(), strict=True)


def faults(manifest: dict[str, Any]) -> list[str]:
    """What is wrong with a manifest of KServe's or KEDA's kinds, by their own definitions."""
    name = "keda" if manifest["apiVersion"].startswith("keda") else "kserve"
    script = Path(__file__).parent / "scripts" / f"{name}_kinds.py"
    found: list[str] = json.loads(
        run(client(name, "bin/python"), script, json.dumps(manifest)).splitlines()[-1]
    )
    return found


@pytest.mark.parametrize("kind", ["ServingRuntime", "InferenceService", "ScaledObject"])
def test_kinds_of_kserve_and_keda_are_as_those_define_them(kind: str) -> None:
    assert faults(MANIFESTS[kind]) == []
    wrong = MANIFESTS[kind] | {"spec": MANIFESTS[kind]["spec"] | {"misspelt": 1}}
    assert any("misspelt" in fault for fault in faults(wrong))


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


def test_pods_are_spread_over_machines_and_zones() -> None:
    spread = POD["spec"]["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in spread} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    for each in spread:
        assert each["labelSelector"]["matchLabels"] == POD["metadata"]["labels"]


def test_pods_are_guaranteed_whole_cores_so_that_they_can_be_pinned() -> None:
    for container in (*POD["spec"]["containers"], *POD["spec"].get("initContainers", ())):
        resources = container["resources"]
        assert set(resources["limits"]) == {"cpu", "memory"}
        assert resources["requests"] == resources["limits"]
        assert resources["limits"]["cpu"].isdecimal()


def test_both_autoscalers_follow_the_same_figures_within_the_same_bounds() -> None:
    scaled, plain = MANIFESTS["ScaledObject"]["spec"], MANIFESTS["HorizontalPodAutoscaler"]["spec"]
    assert plain["scaleTargetRef"]["name"] == scaled["scaleTargetRef"]["name"]
    assert plain["minReplicas"] == scaled["minReplicaCount"]
    assert plain["maxReplicas"] == scaled["maxReplicaCount"]
    assert plain["behavior"] == scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    rules = yaml.safe_load(MANIFESTS["ConfigMap"]["data"]["config.yaml"])["externalRules"]
    queries = {rule["name"]["as"]: rule["metricsQuery"] for rule in rules}
    asked = {
        each["external"]["metric"]["name"]: each["external"]["target"]["value"] for each in plain["metrics"]
    }
    assert set(asked) == set(queries)
    targets = {
        queries[name]: float(value.removesuffix("m")) / (1000 if "m" in value else 1)
        for name, value in asked.items()
    }
    assert targets == {
        trigger["metadata"]["query"]: float(trigger["metadata"]["threshold"])
        for trigger in scaled["triggers"]
    }
    assert all(rule["seriesQuery"] in known() for rule in rules)


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
