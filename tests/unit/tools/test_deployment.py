import shutil

import pytest

from tools import compose, deployment, nginx

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
SERVICE_MONITOR = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "ServiceMonitor",
    "metadata": {"name": "x"},
    "spec": {"selector": {"matchLabels": {"a": "b"}}, "endpoints": [{"port": "metrics"}]},
}
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}}


def test_hadolint_checks_every_dockerfile(tmp_path, monkeypatch):
    files = deployment.dockerfiles()
    assert {"gateway", "model_server"} <= {file.parent.name for file in files}
    assert not any(".venv" in file.parts for file in files)

    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "Dockerfile").write_text("FROM debian\nRUN cd /tmp\n", encoding="utf-8")
    monkeypatch.setattr(deployment, "ROOT", tmp_path)
    faults = "\n".join(deployment.dockerfile_faults())
    assert "DL3006" in faults  # no tag
    assert "DL3003" in faults  # cd


def test_compose_files_are_validated_against_the_specification(tmp_path, monkeypatch):
    file = tmp_path / "docker-compose.yml"
    file.write_text("services: {web: {image: x, restarts: always}}", encoding="utf-8")
    monkeypatch.setattr(compose, "files", lambda: [file])
    (fault,) = deployment.compose_faults()
    assert "restarts" in fault


def test_objects_are_validated_against_kubernetes():
    assert list(deployment.resource_faults(CONFIG_MAP)) == []
    faults = list(deployment.resource_faults({**CONFIG_MAP, "datum": {}}))
    assert len(faults) == len(deployment.KUBERNETES_VERSIONS)
    assert all("datum" in fault for fault in faults)


def test_an_unknown_kind_is_a_fault():
    (fault, *_) = deployment.resource_faults({**CONFIG_MAP, "kind": "Nonsense"})
    assert "Nonsense" in fault


def test_custom_resources_are_validated_against_our_own_schemas():
    assert list(deployment.resource_faults(SERVICE_MONITOR)) == []
    spec = {**SERVICE_MONITOR["spec"], "endpoint": []}
    (fault,) = deployment.resource_faults({**SERVICE_MONITOR, "spec": spec})
    assert "endpoint" in fault


@needs_kubectl
def test_a_kustomization_that_cannot_be_rendered_ends_the_check(tmp_path):
    (tmp_path / "kustomization.yaml").write_text("resources: [missing.yaml]", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"missing\.yaml"):
        deployment.render(tmp_path)


@pytest.mark.skipif(nginx.find() is None, reason="nginx is not installed")
def test_nginx_accepts_every_variant(monkeypatch):
    assert list(deployment.nginx_faults()) == []
    broken = {"broken": {"NGINX_LISTEN": "nowhere:at:all"}}
    monkeypatch.setattr(deployment, "nginx_variants", lambda: broken)
    (fault,) = deployment.nginx_faults()
    assert fault.startswith("broken: ")


def test_every_variant_has_a_value_for_every_name():
    variants = deployment.nginx_variants()
    assert len(variants) > 1
    for values in variants.values():
        assert "${" not in nginx.render({"NGINX_UPSTREAM": "x", **values}).replace("${...}", "")


def test_a_check_without_its_program_is_reported_as_skipped(capsys, monkeypatch):
    def absent():
        raise deployment.NotInstalledError("kubectl")
        yield

    monkeypatch.setattr(deployment, "kubernetes_faults", absent)
    for name in ("dockerfile_faults", "compose_faults", "nginx_faults"):
        monkeypatch.setattr(deployment, name, lambda: iter(()))
    assert deployment.main([]) == 0
    assert "Kubernetes: NOT CHECKED, kubectl is not installed" in capsys.readouterr().out


def test_a_fault_is_printed_and_sets_the_exit_status(capsys, monkeypatch):
    monkeypatch.setattr(deployment, "kubernetes_faults", lambda: iter(["base: Service x: wrong"]))
    for name in ("dockerfile_faults", "compose_faults", "nginx_faults"):
        monkeypatch.setattr(deployment, name, lambda: iter(()))
    assert deployment.main([]) == 1
    assert "Kubernetes: base: Service x: wrong" in capsys.readouterr().out
