import os
import re
import shutil
import subprocess

import pytest

from gateway import gunicorn_conf
from gateway.http.headers import WELL_FORMED_ID
from gateway.settings import Settings
from tools import compose, nginx

PLACES = {"NGINX_LISTEN": "127.0.0.1:8080", "NGINX_UPSTREAM": "127.0.0.1:8000"}


def test_every_name_gets_a_value():
    assert "${" not in nginx.render(PLACES).replace("${...}", "")


def test_a_name_without_a_value_is_an_error():
    with pytest.raises(KeyError, match="NGINX_UPSTREAM"):
        nginx.render({"NGINX_LISTEN": "8080"})


def test_values_override_the_defaults():
    assert "proxy_read_timeout 7s;" in nginx.render({**PLACES, "NGINX_READ_TIMEOUT_S": "7"})


def test_variables_of_nginx_are_kept():
    assert "$request_id" in nginx.render(PLACES)


def test_only_names_of_the_template_have_defaults():
    template = nginx.TEMPLATE.read_text(encoding="utf-8")
    names = set(re.findall(r"\$\{([A-Z_]+)\}", template))
    assert names == set(nginx.defaults()) | set(PLACES)


def test_nginx_and_gateway_have_the_same_body_limit():
    assert int(nginx.defaults()["GATEWAY_MAX_BODY_BYTES"]) == Settings().max_body_bytes


def test_nginx_waits_longer_than_gunicorns_worker_timeout():
    settings = Settings()
    timeouts_s = [
        settings.model_deadline_s,
        settings.request_deadline_s,
        settings.worker_timeout_s,
        int(nginx.defaults()["NGINX_READ_TIMEOUT_S"]),
    ]
    assert timeouts_s == sorted(set(timeouts_s))


def test_nginx_closes_idle_connections_before_gunicorn_does():
    idle_s = re.search(r"upstream gateway {[^}]*keepalive_timeout (\d+)s;", nginx.render(PLACES))
    assert int(idle_s[1]) < gunicorn_conf.keepalive


def test_nginx_and_gateway_accept_the_same_request_ids():
    assert f'"~^{WELL_FORMED_ID.pattern}$"' in nginx.render(PLACES)


@pytest.mark.skipif(shutil.which("envsubst") is None, reason="envsubst is not installed")
@pytest.mark.parametrize("tls_dir", ["", "./tls"])
def test_the_container_renders_the_same_configuration(tls_dir):
    """As the official image does it: envsubst, for the variables whose names match NGINX_ENVSUBST_FILTER."""
    service = compose.load(compose.BASE, {"TLS_DIR": tls_dir})["services"]["nginx"]
    environment = compose.environment(service)
    names = [name for name in environment if re.search(environment["NGINX_ENVSUBST_FILTER"], name)]
    done = subprocess.run(
        ["envsubst", " ".join(f"${{{name}}}" for name in names)],
        input=nginx.TEMPLATE.read_text(encoding="utf-8"),
        env=environment | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.rstrip() == nginx.render({name: environment[name] for name in names}).rstrip()
    assert ("listen 8080 ssl default_server;" in done.stdout) == bool(tls_dir)
    assert ("http2 on;" in done.stdout) == bool(tls_dir)


@pytest.mark.skipif(nginx.find() is None, reason="nginx is not installed")
def test_nginx_accepts_its_configuration(tmp_path):
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(nginx.render(PLACES), encoding="utf-8")
    tried = subprocess.run(
        [*nginx.command(nginx.find(), configuration), "-t"], capture_output=True, text=True, check=False
    )
    assert (tried.returncode, tried.stderr.count("[warn]")) == (0, 0), tried.stderr


@pytest.fixture
def empty_path(tmp_path, monkeypatch):
    """A PATH without programs."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(nginx, "SYSTEM_FOLDERS", ())


@pytest.mark.usefixtures("empty_path")
def test_a_missing_nginx_is_not_found():
    assert nginx.find() is None


@pytest.mark.usefixtures("empty_path")
def test_nginx_is_found_outside_of_path(monkeypatch, tmp_path):
    folder = tmp_path / "sbin"
    folder.mkdir()
    (folder / "nginx").write_text("#!/bin/sh\n", encoding="utf-8")
    (folder / "nginx").chmod(0o755)
    monkeypatch.setattr(nginx, "SYSTEM_FOLDERS", (str(folder),))
    assert nginx.find() == str(folder / "nginx")


def test_workers_run_as_root_only_if_nginx_is_started_by_root(monkeypatch, tmp_path):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "-g" not in nginx.command("nginx", tmp_path / "nginx.conf")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    flag, directive = nginx.command("nginx", tmp_path / "nginx.conf")[-2:]
    assert (flag, directive.split()[:2]) == ("-g", ["user", "root"])
