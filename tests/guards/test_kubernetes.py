"""What no schema can check: that the rendered objects fit together, are safe, and equal those of Compose.

Each check covers every kustomization; a failure names the one that fails.
"""

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from gateway.jobs import redis_scripts
from tests.support import server_command
from tools import compose, deployment

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

FOLDERS = deployment.kustomizations()
MIN_KUSTOMIZATIONS = 5
RESTRICTED = {
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""https://kubernetes.io/docs/concepts/security/pod-security-standards/, and a read-only file system in addition."""

Resource = dict[str, Any]


class Kustomization:
    """The objects that a folder is rendered to."""

    def __init__(self, name: str, resources: list[Resource]) -> None:
        self.name = name
        self.resources = resources

    def of_kind(self, *kinds: str) -> list[Resource]:
        return [resource for resource in self.resources if resource["kind"] in kinds]

    @property
    def deployments(self) -> list[Resource]:
        return self.of_kind("Deployment")

    @property
    def pods(self) -> list[Resource]:
        """The specification of each Deployment's Pods."""
        return [resource["spec"]["template"]["spec"] for resource in self.deployments]

    @property
    def pod_labels(self) -> list[dict[str, str]]:
        return [resource["spec"]["template"]["metadata"]["labels"] for resource in self.deployments]

    def containers(self) -> Iterator[tuple[Resource, Resource]]:
        """Yield each container, those that initialize a Pod included, with the Pod's specification."""
        for pod in self.pods:
            yield from ((pod, container) for container in all_containers(pod))


def all_containers(pod: Resource) -> list[Resource]:
    return [*pod["containers"], *pod.get("initContainers", [])]


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.fixture(scope="module")
def kustomizations() -> list[Kustomization]:
    """Every kustomization, each with at least one container, so that a loop over them checks something."""
    kustomizations = [Kustomization(folder.name, deployment.render(folder)) for folder in FOLDERS]
    assert len(kustomizations) >= MIN_KUSTOMIZATIONS
    for kustomization in kustomizations:
        assert list(kustomization.containers()), kustomization.name
    return kustomizations


@pytest.fixture(scope="module")
def base(kustomizations: list[Kustomization]) -> Kustomization:
    return kustomizations[0]


def overlay(kustomizations: list[Kustomization], name: str) -> Kustomization:
    (result,) = (kustomization for kustomization in kustomizations if kustomization.name == name)
    return result


def test_every_kustomization_has_a_gateway(kustomizations: list[Kustomization]):
    for kustomization in kustomizations:
        names = {resource["metadata"]["name"] for resource in kustomization.deployments}
        assert "gateway" in names, kustomization.name


def test_every_object_is_in_the_same_namespace(kustomizations: list[Kustomization]):
    for kustomization in kustomizations:
        namespaces = {
            resource["metadata"].get("namespace")
            for resource in kustomization.resources
            if resource["kind"] != "Namespace"
        }

        assert namespaces == {"image-gateway"}, kustomization.name


def test_every_image_is_pinned(kustomizations: list[Kustomization]):
    images = {(each.name, container["image"]) for each in kustomizations for _, container in each.containers()}
    pinned = re.compile(r".+(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})")

    assert images
    assert {(name, image) for name, image in images if not pinned.fullmatch(image)} == set()


def test_every_container_keeps_to_the_restricted_profile(kustomizations: list[Kustomization]):
    for kustomization in kustomizations:
        for pod, container in kustomization.containers():
            place = f"{kustomization.name}: {container['name']}"
            context = {**pod["securityContext"], **container["securityContext"]}
            assert {name: context[name] for name in RESTRICTED} == RESTRICTED, place
            assert context["runAsUser"] > 0, place
            assert not any("hostPath" in volume for volume in pod["volumes"]), place
            assert pod["automountServiceAccountToken"] is False, place


def test_every_container_requests_resources_and_limits_its_memory(kustomizations: list[Kustomization]):
    for kustomization in kustomizations:
        for _, container in kustomization.containers():
            place = f"{kustomization.name}: {container['name']}"
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), place
            assert "memory" in container["resources"]["limits"], place


def test_every_long_running_container_is_probed_and_drains(kustomizations: list[Kustomization]):
    for kustomization in kustomizations:
        for pod in kustomization.pods:
            for container in pod["containers"]:
                place = f"{kustomization.name}: {container['name']}"
                assert {"startupProbe", "livenessProbe"} <= set(container), place
                (command, seconds) = container["lifecycle"]["preStop"]["exec"]["command"]
                assert command == "sleep", place
                assert int(seconds) < pod["terminationGracePeriodSeconds"], place


def required_config_maps(container: Resource) -> set[str]:
    """Return the ConfigMaps that a container's environment reads, without the optional ones."""
    sources = [source["configMapRef"] for source in container.get("envFrom", []) if "configMapRef" in source]
    references = [
        variable["valueFrom"]["configMapKeyRef"] for variable in container.get("env", []) if "valueFrom" in variable
    ]
    return {source["name"] for source in sources if not source.get("optional")} | {
        reference["name"] for reference in references
    }


def test_every_volume_and_config_map_of_a_pod_exists(kustomizations: list[Kustomization]):
    for kustomization in kustomizations:
        config_maps = {
            resource["metadata"]["name"]: set(resource["data"]) for resource in kustomization.of_kind("ConfigMap")
        }
        for pod in kustomization.pods:
            mounts = [volume["configMap"] for volume in pod["volumes"] if "configMap" in volume]
            for mount in mounts:
                keys = {item["key"] for item in mount.get("items", [])}
                assert keys <= config_maps[mount["name"]], f"{kustomization.name}: {mount['name']}"
            volumes = {volume["name"] for volume in pod["volumes"]}
            for container in all_containers(pod):
                place = f"{kustomization.name}: {container['name']}"
                assert required_config_maps(container) <= set(config_maps), place
                assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes, place


def test_every_service_and_disruption_budget_selects_pods(kustomizations: list[Kustomization]):
    for kustomization in kustomizations:
        selectors = [resource["spec"]["selector"] for resource in kustomization.of_kind("Service")]
        budgets = kustomization.of_kind("PodDisruptionBudget")
        selectors += [resource["spec"]["selector"]["matchLabels"] for resource in budgets]
        unmatched = [
            selector
            for selector in selectors
            if not any(matches(selector, labels) for labels in kustomization.pod_labels)
        ]

        assert selectors, kustomization.name
        assert unmatched == [], kustomization.name


def test_every_pod_belongs_to_exactly_one_deployment(kustomizations: list[Kustomization]):
    for kustomization in kustomizations:
        selectors = [resource["spec"]["selector"]["matchLabels"] for resource in kustomization.deployments]
        counts = [sum(matches(selector, labels) for selector in selectors) for labels in kustomization.pod_labels]

        assert counts, kustomization.name
        assert set(counts) == {1}, kustomization.name


def test_every_target_of_an_autoscaler_exists(kustomizations: list[Kustomization]):
    scalers = [(each, scaler) for each in kustomizations for scaler in each.of_kind("HorizontalPodAutoscaler")]

    assert scalers
    for kustomization, scaler in scalers:
        target = scaler["spec"]["scaleTargetRef"]
        assert target["kind"] == "Deployment", kustomization.name
        (resource,) = (each for each in kustomization.deployments if each["metadata"]["name"] == target["name"])
        names = {container["name"] for container in resource["spec"]["template"]["spec"]["containers"]}
        measured = {metric["containerResource"]["container"] for metric in scaler["spec"]["metrics"]}
        assert measured, kustomization.name
        assert measured <= names, kustomization.name


def test_workers_are_scaled_by_the_chunks_that_wait(kustomizations: list[Kustomization]):
    jobs = overlay(kustomizations, "jobs")
    (scaler,) = jobs.of_kind("ScaledObject")

    assert scaler["spec"]["scaleTargetRef"]["name"] in {each["metadata"]["name"] for each in jobs.deployments}
    (trigger,) = scaler["spec"]["triggers"]
    assert trigger["metadata"]["listName"] == f"{redis_scripts.PREFIX}open"
    services = {each["metadata"]["name"] for each in jobs.of_kind("Service")}
    assert trigger["metadata"]["address"].partition(".")[0] in services


def test_every_backend_of_an_ingress_exists(kustomizations: list[Kustomization]):
    ingresses = [(each, ingress) for each in kustomizations for ingress in each.of_kind("Ingress")]

    assert ingresses
    for kustomization, ingress in ingresses:
        services = {resource["metadata"]["name"] for resource in kustomization.of_kind("Service")}
        backends = {
            path["backend"]["service"]["name"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]
        }
        assert backends, kustomization.name
        assert backends <= services, kustomization.name


def test_every_gateway_connects_to_all_pods_of_an_existing_model_server(kustomizations: list[Kustomization]):
    for kustomization in kustomizations:
        services = {resource["metadata"]["name"]: resource["spec"] for resource in kustomization.of_kind("Service")}
        predictors = {
            f"{resource['metadata']['name']}-predictor" for resource in kustomization.of_kind("InferenceService")
        }
        variables = [
            {variable["name"]: variable.get("value") for variable in container.get("env", [])}
            for pod in kustomization.pods
            for container in pod["containers"]
        ]
        targets = [each["GATEWAY_TFS_TARGET"] for each in variables if "GATEWAY_TFS_TARGET" in each]

        assert targets, kustomization.name
        for target in targets:
            host = re.fullmatch(r"dns:///([\w-]+):\d+", target)[1]
            assert host in predictors or services[host]["clusterIP"] == "None", f"{kustomization.name}: {target}"


def test_a_canary_receives_requests_but_stable_gateways_do_not_call_it(kustomizations: list[Kustomization]):
    canary = overlay(kustomizations, "canary")
    selectors = {resource["metadata"]["name"]: resource["spec"]["selector"] for resource in canary.of_kind("Service")}
    labels = {
        resource["metadata"]["name"]: resource["spec"]["template"]["metadata"]["labels"]
        for resource in canary.deployments
    }

    def pods_of(service: str) -> set[str]:
        return {name for name, pod_labels in labels.items() if matches(selectors[service], pod_labels)}

    assert pods_of("gateway") == {"gateway", "gateway-canary"}
    assert pods_of("model-server") == {"model-server"}
    assert pods_of("model-server-canary") == {"model-server-canary"}
    data = [resource["data"] for resource in canary.of_kind("ConfigMap")]
    configs = [each["models.config"] for each in data if "models.config" in each]
    assert {re.search(r'key: "(\w+)" value: (\d)', text).groups() for text in configs} == {
        ("stable", "1"),
        ("canary", "2"),
    }


def test_alerts_and_monitors_equal_those_of_prometheus_in_compose(kustomizations: list[Kustomization]):
    monitoring = overlay(kustomizations, "monitoring")
    folder = compose.ROOT / "deploy" / "monitoring"

    (rule,) = monitoring.of_kind("PrometheusRule")
    assert rule["spec"] == yaml.safe_load((folder / "alerts.yml").read_text(encoding="utf-8"))

    jobs = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    monitors = {resource["metadata"]["name"]: resource["spec"] for resource in monitoring.of_kind("ServiceMonitor")}
    ports = {resource["metadata"]["name"]: resource["spec"]["ports"] for resource in monitoring.of_kind("Service")}
    jobs = [job for job in jobs if job["job_name"] != "certificate"]  # the Ingress has it; cert-manager has its end
    assert jobs
    for job in jobs:  # the operator names a job after its Service
        (endpoint,) = monitors[job["job_name"]]["endpoints"]
        assert endpoint["path"] == job.get("metrics_path", "/metrics")
        assert endpoint["port"] in {port["name"] for port in ports[job["job_name"]]}


# The same as in Compose


def container_of(kustomization: Kustomization, name: str) -> Resource:
    (result,) = (container for _, container in kustomization.containers() if container["name"] == name)
    return result


def flags(arguments: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


def test_the_model_server_has_the_flags_of_compose(base: Kustomization):
    server = container_of(base, "model-server")
    environment = {variable["name"]: variable["value"] for variable in server["env"]}
    service = compose.load(compose.BASE)["services"]["model-server"]
    kubernetes_flags = flags(server_command.arguments(server["args"][0], environment))
    compose_flags = flags(server_command.arguments(service["command"][0], compose.environment(service)))

    paths = {"monitoring_config_file"}
    threads = "tensorflow_inter_op_parallelism"  # as many as the CPUs that the container requests
    assert set(kubernetes_flags) == set(compose_flags)
    different = {name for name, value in kubernetes_flags.items() if value != compose_flags[name]}
    assert different == {threads} | paths
    assert kubernetes_flags[threads] == server["resources"]["requests"]["cpu"]


def test_nginx_has_the_image_command_and_variables_of_compose(base: Kustomization):
    front = container_of(base, "nginx")
    service = compose.load(compose.BASE)["services"]["nginx"]
    variables = {variable["name"]: variable["value"] for variable in front["env"]}

    for name in ("NGINX_ENVSUBST_FILTER", "NGINX_ENVSUBST_OUTPUT_DIR", "NGINX_LISTEN"):
        assert variables[name] == service["environment"][name], name
    assert front["args"] == service["command"]
    assert front["image"] == service["image"]


def test_config_maps_hold_the_files_of_compose(base: Kustomization):
    data: dict[str, str] = {}
    for resource in base.of_kind("ConfigMap"):
        data |= resource["data"]

    for key, file in (
        ("models.config", "serving_models/models.config"),
        ("monitoring.config", "serving_models/monitoring.config"),
        ("batching.config", "serving_models/batching.config"),
        ("gpu-batching.config", "serving_models/batching/gpu.config"),
        ("nginx.conf.template", "nginx/nginx.conf.template"),
        ("listen-on-ipv6.envsh", "nginx/listen-on-ipv6.envsh"),
    ):
        assert data[key] == (compose.ROOT / file).read_text(encoding="utf-8"), key


def test_the_gateway_has_every_variable_of_compose(base: Kustomization):
    kubernetes_names = {variable["name"] for variable in container_of(base, "gateway")["env"]}
    compose_names = set(compose.environment(compose.load(compose.BASE)["services"]["gateway"]))

    assert compose_names
    assert compose_names <= kubernetes_names
