"""What no schema tells: that the rendered objects fit together, are safe, and are those of Compose."""

import re
import shutil

import pytest
import yaml

from tools import compose, deployment

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

FOLDERS = deployment.kustomizations()


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def resources(request):
    return deployment.render(request.param)


@pytest.fixture(scope="module")
def base():
    return deployment.render(FOLDERS[0])


def of_kind(resources, *kinds):
    return [resource for resource in resources if resource["kind"] in kinds]


def pod(deployment_):
    return deployment_["spec"]["template"]["spec"]


def containers(resources):
    for resource in of_kind(resources, "Deployment"):
        spec = pod(resource)
        yield from ((spec, container) for container in [*spec["containers"], *spec.get("initContainers", [])])


def pod_labels(resources):
    return [resource["spec"]["template"]["metadata"]["labels"] for resource in of_kind(resources, "Deployment")]


def matches(selector, labels):
    return selector.items() <= labels.items()


def test_every_folder_is_rendered_and_has_a_gateway(resources):
    assert any(resource["metadata"]["name"] == "gateway" for resource in of_kind(resources, "Deployment"))


def test_everything_is_in_the_one_namespace(resources):
    elsewhere = [r["metadata"] for r in resources if r["kind"] != "Namespace"]
    assert {metadata.get("namespace") for metadata in elsewhere} == {"image-gateway"}


def test_every_image_is_pinned(resources):
    images = {container["image"] for _, container in containers(resources)}
    assert all(re.fullmatch(r".+(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})", image) for image in images), images


def test_every_container_keeps_to_the_restricted_profile(resources):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, and a read-only file system on top."""
    for spec, container in containers(resources):
        context = {**spec["securityContext"], **container["securityContext"]}
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not any("hostPath" in volume for volume in spec["volumes"])
        assert spec["automountServiceAccountToken"] is False


def test_every_container_says_what_it_needs_and_how_much_memory_it_may_take(resources):
    for _, container in containers(resources):
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


def test_every_lasting_container_is_probed_and_drains(resources):
    for resource in of_kind(resources, "Deployment"):
        for container in pod(resource)["containers"]:
            assert {"startupProbe", "livenessProbe"} <= set(container), container["name"]
            (command, seconds) = container["lifecycle"]["preStop"]["exec"]["command"]
            assert command == "sleep"
            assert int(seconds) < pod(resource)["terminationGracePeriodSeconds"]


def test_what_a_pod_mounts_or_reads_is_there(resources):
    config_maps = {resource["metadata"]["name"]: resource["data"] for resource in of_kind(resources, "ConfigMap")}
    for resource in of_kind(resources, "Deployment"):
        spec = pod(resource)
        mounted = [volume["configMap"] for volume in spec["volumes"] if "configMap" in volume]
        for reference in mounted:
            assert {item["key"] for item in reference.get("items", [])} <= set(config_maps[reference["name"]])
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            required = [
                source["configMapRef"]["name"]
                for source in container.get("envFrom", [])
                if "configMapRef" in source and not source["configMapRef"].get("optional")
            ]
            required += [
                variable["valueFrom"]["configMapKeyRef"]["name"]
                for variable in container.get("env", [])
                if "valueFrom" in variable
            ]
            assert set(required) <= set(config_maps)
            volumes = {volume["name"] for volume in spec["volumes"]}
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes


def test_services_and_budgets_find_pods(resources):
    selectors = [resource["spec"]["selector"] for resource in of_kind(resources, "Service")]
    selectors += [resource["spec"]["selector"]["matchLabels"] for resource in of_kind(resources, "PodDisruptionBudget")]
    for selector in selectors:
        assert any(matches(selector, labels) for labels in pod_labels(resources)), selector


def test_no_pod_belongs_to_two_deployments(resources):
    selectors = [resource["spec"]["selector"]["matchLabels"] for resource in of_kind(resources, "Deployment")]
    for labels in pod_labels(resources):
        assert sum(matches(selector, labels) for selector in selectors) == 1


def test_what_is_scaled_and_routed_to_is_there(resources):
    names = {(resource["kind"], resource["metadata"]["name"]) for resource in resources}
    for scaler in of_kind(resources, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) in names
        watched = {metric["containerResource"]["container"] for metric in scaler["spec"]["metrics"]}
        (deployment_,) = (r for r in of_kind(resources, "Deployment") if r["metadata"]["name"] == target["name"])
        assert watched <= {container["name"] for container in pod(deployment_)["containers"]}
    for ingress in of_kind(resources, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                assert ("Service", path["backend"]["service"]["name"]) in names


def test_each_gateway_asks_a_model_server_that_is_there_by_a_name_for_all_its_pods(resources):
    services = {resource["metadata"]["name"]: resource["spec"] for resource in of_kind(resources, "Service")}
    predictors = {f"{resource['metadata']['name']}-predictor" for resource in of_kind(resources, "InferenceService")}
    for resource in of_kind(resources, "Deployment"):
        for container in pod(resource)["containers"]:
            variables = {variable["name"]: variable.get("value") for variable in container.get("env", [])}
            if "GATEWAY_TFS_TARGET" in variables:
                host = re.fullmatch(r"dns:///([\w-]+):\d+", variables["GATEWAY_TFS_TARGET"])[1]
                assert host in predictors or services[host]["clusterIP"] == "None"


def test_a_canary_gets_requests_but_no_stable_gateway_asks_it():
    resources = deployment.render(deployment.KUBERNETES / "overlays" / "canary")
    services = {
        resource["metadata"]["name"]: resource["spec"]["selector"] for resource in of_kind(resources, "Service")
    }
    labels = {
        r["metadata"]["name"]: r["spec"]["template"]["metadata"]["labels"] for r in of_kind(resources, "Deployment")
    }

    def found(service):
        return {name for name, given in labels.items() if matches(services[service], given)}

    assert found("gateway") == {"gateway", "gateway-canary"}
    assert found("model-server") == {"model-server"}
    assert found("model-server-canary") == {"model-server-canary"}
    configs = [r["data"]["models.config"] for r in of_kind(resources, "ConfigMap") if "models.config" in r["data"]]
    assert {re.search(r'key: "(\w+)" value: (\d)', text).groups() for text in configs} == {
        ("stable", "1"),
        ("canary", "2"),
    }


def test_alerts_and_monitors_are_those_of_prometheus_in_compose():
    resources = deployment.render(deployment.KUBERNETES / "overlays" / "monitoring")
    (rule,) = of_kind(resources, "PrometheusRule")
    folder = compose.ROOT / "deploy" / "monitoring"
    assert rule["spec"] == yaml.safe_load((folder / "alerts.yml").read_text(encoding="utf-8"))
    jobs = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    monitors = {resource["metadata"]["name"]: resource["spec"] for resource in of_kind(resources, "ServiceMonitor")}
    services = {r["metadata"]["name"]: r["spec"]["ports"] for r in of_kind(resources, "Service")}
    for job in jobs:  # the operator names a job after its Service
        (endpoint,) = monitors[job["job_name"]]["endpoints"]
        assert endpoint["path"] == job.get("metrics_path", "/metrics")
        assert endpoint["port"] in {port["name"] for port in services[job["job_name"]]}


# --- the same as Compose


def flags(command):
    return dict(re.findall(r"--(\w+)=(\S+)", command))


def test_the_model_server_is_started_as_compose_starts_it(base):
    (server,) = (c for _, c in containers(base) if c["name"] == "model-server")
    ours = flags(server["args"][0])
    theirs = flags(compose.load(compose.BASE)["services"]["model-server"]["command"][0])
    places = {"batching_parameters_file", "monitoring_config_file"}
    threads = "tensorflow_inter_op_parallelism"  # here as many as it asks for
    assert set(ours) == set(theirs)
    assert {name for name in ours if ours[name] != theirs[name]} == {threads} | (places & set(ours))
    assert ours[threads] == server["resources"]["requests"]["cpu"]


def test_nginx_is_started_as_compose_starts_it(base):
    (front,) = (container for _, container in containers(base) if container["name"] == "nginx")
    service = compose.load(compose.BASE)["services"]["nginx"]
    variables = {variable["name"]: variable["value"] for variable in front["env"]}
    for name in ("NGINX_ENVSUBST_FILTER", "NGINX_ENVSUBST_OUTPUT_DIR", "NGINX_LISTEN"):
        assert variables[name] == service["environment"][name]
    assert front["args"] == service["command"]
    assert front["image"] == service["image"]


def test_the_files_are_those_of_compose(base):
    data = {}
    for resource in of_kind(base, "ConfigMap"):
        data |= resource["data"]
    for key, file in (
        ("models.config", "serving_models/models.config"),
        ("monitoring.config", "serving_models/monitoring.config"),
        ("batching.config", "serving_models/batching.config"),
        ("gpu-batching.config", "serving_models/batching/gpu.config"),
        ("nginx.conf.template", "nginx/nginx.conf.template"),
    ):
        assert data[key] == (compose.ROOT / file).read_text(encoding="utf-8")


def test_the_gateway_gets_what_compose_gives_it(base):
    (gateway,) = (container for _, container in containers(base) if container["name"] == "gateway")
    here = {variable["name"] for variable in gateway["env"]}
    there = set(compose.environment(compose.load(compose.BASE)["services"]["gateway"]))
    assert there <= here
