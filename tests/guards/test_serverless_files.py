"""The service files of deploy/serverless agree with the image, the gateway's settings and routes, and the docs."""

from pathlib import Path

import pytest
import yaml

from gateway.app import create_app
from gateway.fetching.fetcher import DisabledFetcher
from gateway.models.configured import ConfiguredModels
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer
from tests.support.image import last_stage

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "serverless"
IMAGE_PORT = 8080
KILL_AFTER_S = 10
MIN_MIB = 1024  # both programs take 170 MB with cifar10; half is for images


class Loader(yaml.SafeLoader):
    """Reads a value with a tag of CloudFormation as the value."""


Loader.add_multi_constructor("!", lambda _loader, _tag, node: node.value)


def read(name):
    return yaml.load((FOLDER / name).read_text(encoding="utf-8"), Loader)  # noqa: S506  # a SafeLoader


def knative(name):
    spec = read(name)["spec"]["template"]["spec"]
    return spec, spec["containers"][0]


def alibaba():
    return read("s.yaml")["resources"]["image-gateway"]["props"]


def tencent():
    return read("serverless.yml")["inputs"]


def sagemaker():
    return {name: resource["Properties"] for name, resource in read("sagemaker.yaml")["Resources"].items()}


ENVIRONMENTS = {
    "s.yaml": alibaba().get("environmentVariables", {}),
    "serverless.yml": tencent()["environment"]["variables"],
    "sagemaker.yaml": sagemaker()["Model"]["PrimaryContainer"]["Environment"],
    **{
        name: {item["name"]: item["value"] for item in knative(name)[1].get("env", [])}
        for name in ("cloudrun.yaml", "knative.yaml")
    },
}


def test_every_service_file_is_tested():
    assert {path.name for path in FOLDER.glob("*.y*ml")} == set(ENVIRONMENTS)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_variable_is_a_setting_with_a_text_as_value(name):
    assert all(isinstance(value, str) for value in ENVIRONMENTS[name].values())
    Settings.from_env(ENVIRONMENTS[name])


@pytest.mark.parametrize("name", ["cloudrun.yaml", "knative.yaml"])
def test_knative_has_the_limits_port_and_probes_of_the_gateway(name):
    spec, container = knative(name)
    settings = Settings()

    assert spec["containerConcurrency"] == settings.threads
    assert spec["timeoutSeconds"] > settings.request_deadline_s
    assert [port["containerPort"] for port in container["ports"]] == [IMAGE_PORT]
    assert container["resources"]["limits"]["memory"] == "1Gi"

    app = create_app(
        settings, server=FakeModelServer(), fetcher=DisabledFetcher(), configured_models=ConfiguredModels(dict)
    )
    probes = [container[kind]["httpGet"] for kind in container if kind.endswith("Probe")]
    assert len(probes) == 2
    for probe in probes:
        assert probe["port"] == IMAGE_PORT
        assert app.url_map.bind("localhost").match(probe["path"])


def test_cloud_run_waits_at_least_as_long_as_the_gateway():
    probe = knative("cloudrun.yaml")[1]["startupProbe"]
    environment = dict(
        word.split("=", 1)
        for keyword, rest in last_stage((FOLDER / "Dockerfile").read_text(encoding="utf-8"))
        if keyword == "ENV"
        for word in rest.split()
    )

    assert probe["periodSeconds"] * probe["failureThreshold"] >= float(environment["GATEWAY_START_WAIT_S"])
    assert probe["timeoutSeconds"] <= probe["periodSeconds"]
    assert float(environment["GATEWAY_GRACEFUL_TIMEOUT_S"]) < KILL_AFTER_S
    assert int(environment["PORT"]) == IMAGE_PORT


def test_function_compute_has_the_limits_and_port_of_the_gateway():
    props = alibaba()

    assert props["instanceConcurrency"] == Settings().threads
    assert props["timeout"] > Settings().request_deadline_s
    assert props["customContainerConfig"]["port"] == IMAGE_PORT
    assert props["memorySize"] >= MIN_MIB


def test_tencent_has_its_port_and_the_limits_of_the_gateway():
    inputs = tencent()

    assert (inputs["type"], inputs["environment"]["variables"]["PORT"]) == ("web", "9000")
    assert inputs["timeout"] > Settings().request_deadline_s
    assert inputs["memorySize"] >= MIN_MIB
    assert inputs["memorySize"] % 128 == 0


def test_sagemaker_has_its_paths_and_enough_memory():
    resources = sagemaker()

    assert Settings.from_env(ENVIRONMENTS["sagemaker.yaml"]).sagemaker
    (variant,) = resources["EndpointConfig"]["ProductionVariants"]
    assert variant["ServerlessConfig"]["MemorySizeInMB"] >= MIN_MIB


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_docs_list_every_service_file(name):
    assert f"| `{name}` |" in (ROOT / "docs" / "guides" / "serverless.md").read_text(encoding="utf-8")
