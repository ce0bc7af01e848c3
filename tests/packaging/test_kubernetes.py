"""configs/kubernetes: what kustomize makes of it fits the API's schemas, the settings, and Kodify's own routes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from kodify.app import ROUTES
from kodify.settings import Settings

from .boards import named
from .conftest import ROOT

FOLDER = ROOT / "configs" / "kubernetes"
VERSIONS = ("1.27", "1.34")  # the oldest and the newest that are looked at
CUSTOM = {"ServiceMonitor", "RayCluster"}  # kinds that the API's schemas don't have
OURS = {field.alias for field in Settings.model_fields.values()}
OF_VLLM_AND_RAY = {"RAY_USAGE_STATS_ENABLED"}

Resource = dict[str, Any]


@pytest.fixture(scope="module", params=["gpu", "cpu"])
def overlay(request: pytest.FixtureRequest) -> dict[str, Resource]:
    """The overlay's resources by kind; of ConfigMaps by name."""
    command = ["kubectl", "kustomize"] if shutil.which("kubectl") else ["kustomize", "build"]
    if shutil.which(command[0]) is None:
        if os.environ.get("CI"):
            pytest.fail("neither kubectl nor kustomize is here")
        pytest.skip("neither kubectl nor kustomize is here")
    done = subprocess.run([*command, FOLDER / "overlays" / request.param], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = [one for one in yaml.safe_load_all(done.stdout) if one]
    keyed = {_key(one): one for one in made}
    assert len(keyed) == len(made)
    return keyed


def _key(one: Resource) -> str:
    name: str = one["metadata"]["name"]
    return f"ConfigMap {name.rsplit('-', 1)[0]}" if one["kind"] == "ConfigMap" else str(one["kind"])


def examples() -> list[Resource]:
    files = [FOLDER / "secret.example.yaml", *sorted((FOLDER / "examples").glob("*.yaml"))]
    return [one for path in files for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_fits_the_apis_schema(overlay: dict[str, Resource], version: str) -> None:
    checked = [one for one in [*overlay.values(), *examples()] if one["kind"] not in CUSTOM]
    assert {"Deployment", "Service", "PodDisruptionBudget", "Secret"} <= {one["kind"] for one in checked}
    for one in checked:
        kubernetes_validate.validate(one, version, strict=True)
    broken = {**overlay["Deployment"], "spec": {**overlay["Deployment"]["spec"], "replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


def test_pods_of_a_ray_cluster_fit_it_too() -> None:
    (cluster,) = [one for one in examples() if one["kind"] == "RayCluster"]
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for group in groups:
        template = group["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template.get("metadata", {}), "name": "x"}}
        kubernetes_validate.validate({**pod, "spec": template["spec"]}, VERSIONS[-1], strict=True)
        assert set(group) <= {"rayStartParams", "template", "groupName", "replicas", "minReplicas", "maxReplicas"}
    head = groups[0]["template"]["spec"]["containers"][0]
    arguments = next(one["value"] for one in head["env"] if one["name"] == "ADDITIONAL_ARGS")
    gpus = sum(int(group["rayStartParams"]["num-gpus"]) * group.get("replicas", 1) for group in groups)
    assert arguments.startswith("--distributed-executor-backend ray")
    sizes = arguments.split("--tensor-parallel-size ")[1].split(" --pipeline-parallel-size ")
    assert int(sizes[0]) * int(sizes[1]) == gpus


def test_every_variable_is_a_setting(overlay: dict[str, Resource]) -> None:
    named_here = set(overlay["ConfigMap kodify-settings"]["data"])
    for one in examples():
        named_here |= set(one.get("stringData", {}))
        if one["kind"] == "RayCluster":
            containers = one["spec"]["headGroupSpec"]["template"]["spec"]["containers"]
            named_here |= {pair["name"] for container in containers for pair in container["env"]}
    assert named_here - OF_VLLM_AND_RAY <= OURS


def test_probes_ask_routes_that_there_are_and_leave_time_to_load(overlay: dict[str, Resource]) -> None:
    spec = overlay["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    public = {route.path for route in ROUTES if getattr(route.endpoint, "scope", None) == "public"}  # type: ignore[attr-defined]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in public
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 1800
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"  # /ready turns 503 while a pod drains
    drain_s = int(overlay["ConfigMap kodify-settings"]["data"]["DRAIN_TIMEOUT"])
    assert spec["terminationGracePeriodSeconds"] > drain_s + int(
        container["lifecycle"]["preStop"]["exec"]["command"][1]
    )


def test_the_init_containers_migrate_by_the_same_image(overlay: dict[str, Resource]) -> None:
    spec = overlay["Deployment"]["spec"]["template"]["spec"]
    images = {container["image"] for container in [*spec["initContainers"], *spec["containers"]]}
    assert len(images) == 1
    ini = (ROOT / "migrations" / "alembic.ini").read_text()
    assert len(spec["initContainers"]) == len(re.findall(r"^\[\w+\]$", ini, re.M))
    for container in spec["initContainers"]:
        command = container["command"]
        assert command[-2:] == ["upgrade", "head"]
        section = command[command.index("-n") + 1] if "-n" in command else "alembic"
        assert f"[{section}]" in ini


def test_names_agree(overlay: dict[str, Resource]) -> None:
    """Labels, ports, metrics and claims that one resource asks of another."""
    deployment, service, monitor = (overlay[kind] for kind in ("Deployment", "Service", "ServiceMonitor"))
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (service["spec"]["selector"], overlay["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= labels.items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {end["port"] for end in monitor["spec"]["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "kodify"  # what alerts call the job
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    volumes = {volume["name"] for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    if "HorizontalPodAutoscaler" in overlay:
        (metric,) = overlay["HorizontalPodAutoscaler"]["spec"]["metrics"]
        name = metric["pods"]["metric"]["name"]
        adapter = yaml.safe_load((FOLDER / "prometheus-adapter.example.yaml").read_text())
        assert name in named("kodify")  # which a test asks of a running Kodify
        assert [rule["name"]["as"] for rule in adapter["rules"]["custom"]] == [name]
