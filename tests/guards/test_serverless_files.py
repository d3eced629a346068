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
KILLED_AFTER_S = 10
LEAST_MIB = 1536  # cifar10 takes 1.1 GB


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's tags as what they stand before."""


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


def test_each_file_is_looked_at():
    assert {path.name for path in FOLDER.glob("*.y*ml")} == set(ENVIRONMENTS)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_is_set_are_settings_and_text(name):
    assert all(isinstance(value, str) for value in ENVIRONMENTS[name].values())
    Settings.from_env(ENVIRONMENTS[name])


@pytest.mark.parametrize("name", ["cloudrun.yaml", "knative.yaml"])
def test_knative_sends_what_the_gateway_takes(name):
    spec, container = knative(name)
    settings = Settings()
    assert spec["containerConcurrency"] == settings.threads
    assert spec["timeoutSeconds"] > settings.request_deadline_s
    assert [port["containerPort"] for port in container["ports"]] == [IMAGE_PORT]
    assert container["resources"]["limits"]["memory"] == "2Gi"
    app = create_app(
        settings, server=FakeModelServer(), fetcher=DisabledFetcher(), configured_models=ConfiguredModels(dict)
    )
    probes = [container[kind]["httpGet"] for kind in container if kind.endswith("Probe")]
    assert len(probes) == 2
    for probe in probes:
        assert probe["port"] == IMAGE_PORT
        assert app.url_map.bind("localhost").match(probe["path"])


def test_cloud_run_waits_as_long_as_the_gateway_does():
    probe = knative("cloudrun.yaml")[1]["startupProbe"]
    environment = dict(
        word.split("=", 1)
        for keyword, rest in last_stage((FOLDER / "Dockerfile").read_text(encoding="utf-8"))
        if keyword == "ENV"
        for word in rest.split()
    )
    assert probe["periodSeconds"] * probe["failureThreshold"] >= float(environment["GATEWAY_START_WAIT_S"])
    assert probe["timeoutSeconds"] <= probe["periodSeconds"]
    assert float(environment["GATEWAY_GRACEFUL_TIMEOUT_S"]) < KILLED_AFTER_S
    assert int(environment["PORT"]) == IMAGE_PORT


def test_function_compute_sends_what_the_gateway_takes():
    props = alibaba()
    assert props["instanceConcurrency"] == Settings().threads
    assert props["timeout"] > Settings().request_deadline_s
    assert props["customContainerConfig"]["port"] == IMAGE_PORT
    assert props["memorySize"] >= LEAST_MIB


def test_tencent_finds_the_port_that_it_takes():
    inputs = tencent()
    assert (inputs["type"], inputs["environment"]["variables"]["PORT"]) == ("web", "9000")
    assert inputs["timeout"] > Settings().request_deadline_s
    assert inputs["memorySize"] >= LEAST_MIB
    assert inputs["memorySize"] % 128 == 0


def test_sagemaker_finds_its_paths():
    resources = sagemaker()
    assert Settings.from_env(ENVIRONMENTS["sagemaker.yaml"]).sagemaker
    (variant,) = resources["EndpointConfig"]["ProductionVariants"]
    assert variant["ServerlessConfig"]["MemorySizeInMB"] >= LEAST_MIB


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_docs_tell_each_file(name):
    assert f"| `{name}` |" in (ROOT / "docs" / "serverless.md").read_text(encoding="utf-8")
