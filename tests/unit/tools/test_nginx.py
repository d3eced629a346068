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
def bare_system(tmp_path, monkeypatch):
    """A PATH of one folder that has only `env`, and a process that runs as root."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "env").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(nginx, "SYSTEM_FOLDERS", ())
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return folder


def add_program(folder, name, text):
    program = folder / name
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(0o755)


INSTALLS = """echo "$0 $*"
[ "$2" = update ] && exit 0
printf '#!/bin/sh\\n' > "${0%/*}/nginx"; /bin/chmod 755 "${0%/*}/nginx" """


@pytest.mark.usefixtures("bare_system")
def test_a_missing_nginx_is_not_found():
    assert nginx.find() is None


@pytest.mark.usefixtures("bare_system")
def test_nginx_is_found_outside_of_path(monkeypatch, tmp_path):
    folder = tmp_path / "sbin"
    folder.mkdir()
    add_program(folder, "nginx", "")
    monkeypatch.setattr(nginx, "SYSTEM_FOLDERS", (str(folder),))
    assert nginx.find() == str(folder / "nginx")


def test_the_package_manager_installs_nginx(bare_system, tmp_path):
    add_program(bare_system, "apt-get", INSTALLS)
    log = tmp_path / "install.log"

    assert nginx.install(log) == str(bare_system / "nginx")
    assert [line.split(" ", 1)[1] for line in log.read_text().splitlines()] == [
        "-qq update",
        "-qq install --no-install-recommends nginx",
    ]


@pytest.mark.usefixtures("bare_system")
def test_without_a_package_manager_the_supported_ones_are_named(tmp_path):
    with pytest.raises(nginx.NginxUnavailableError, match="none of apt-get, dnf, apk, pacman, brew is installed"):
        nginx.install(tmp_path / "install.log")


def test_a_failing_package_manager_is_reported_with_its_status_and_log(bare_system, tmp_path):
    add_program(bare_system, "apk", "echo no network; exit 7")
    log = tmp_path / "install.log"
    with pytest.raises(
        nginx.NginxUnavailableError, match=r"`apk add --quiet nginx` .* exit status 7; see .*install.log"
    ):
        nginx.install(log)
    assert log.read_text() == "no network\n"


def test_a_package_manager_that_installs_nothing_is_reported(bare_system, tmp_path):
    add_program(bare_system, "dnf", "exit 0")
    with pytest.raises(nginx.NginxUnavailableError, match="dnf installed it outside of PATH"):
        nginx.install(tmp_path / "install.log")


def test_nothing_is_installed_without_root_or_sudo(bare_system, tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    add_program(bare_system, "apt-get", INSTALLS)
    with pytest.raises(nginx.NginxUnavailableError, match=r"root privileges\. Run once: sudo apt-get install nginx"):
        nginx.install(tmp_path / "install.log")
    assert nginx.find() is None


def test_a_sudo_that_needs_a_password_is_not_used(bare_system, tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    add_program(bare_system, "apt-get", INSTALLS)
    add_program(bare_system, "sudo", '[ "$1" = -n ] && exit 1')
    with pytest.raises(nginx.NginxUnavailableError, match="root privileges"):
        nginx.install(tmp_path / "install.log")


def test_a_sudo_without_a_password_is_used(bare_system, tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    (bare_system / "true").symlink_to("/bin/true")
    add_program(bare_system, "apt-get", INSTALLS)
    add_program(bare_system, "sudo", '[ "$1" = -n ] || exit 1; shift; echo as root; exec "$@"')
    log = tmp_path / "install.log"

    nginx.install(log)
    assert log.read_text().count("as root") == 2


def test_brew_runs_without_root(bare_system, tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 501)
    add_program(bare_system, "brew", INSTALLS)
    assert nginx.install(tmp_path / "install.log") == str(bare_system / "nginx")


def test_workers_run_as_root_only_if_nginx_is_started_by_root(monkeypatch, tmp_path):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "-g" not in nginx.command("nginx", tmp_path / "nginx.conf")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    flag, directive = nginx.command("nginx", tmp_path / "nginx.conf")[-2:]
    assert (flag, directive.split()[:2]) == ("-g", ["user", "root"])
