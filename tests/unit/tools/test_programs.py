import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.settings import Settings
from tools import programs


@pytest.fixture
def options(tmp_path):
    return programs.Options(
        host="127.0.0.1",
        port=8080,
        gateway_port=8000,
        grpc_port=8500,
        rest_port=8501,
        models_config=tmp_path / "models" / "models.config",
        run_dir=tmp_path,
        ready_timeout_s=1,
        use_nginx=True,
    )


def test_the_model_server_gets_its_ports_and_models(options):
    command = programs.model_server(options, Settings()).command
    assert command[:3] == (sys.executable, "-m", "model_server")
    assert {"--port=8500", "--rest_api_port=8501", f"--model_config_file={options.models_config}"} <= set(command)


def test_the_model_server_accepts_more_calls_than_the_gateway_can_make(options):
    settings = Settings(workers=4, threads=16)
    (flag,) = (part for part in programs.model_server(options, settings).command if "grpc_max_threads" in part)
    assert int(flag.partition("=")[2]) > 4 * 16


def test_the_model_server_starts_with_labels_of_unloaded_versions(options):
    assert "--allow_version_labels_for_unavailable_models=true" in programs.model_server(options, Settings()).command


def test_the_gateway_listens_behind_nginx_or_instead_of_it(options, tmp_path):
    behind = programs.gateway(options, Settings(), tmp_path, direct=False)
    direct = programs.gateway(replace(options, host="10.0.0.1"), Settings(), tmp_path, direct=True)
    assert behind.environment["GATEWAY_BIND"] == "127.0.0.1:8000"
    assert behind.environment["GATEWAY_TRUSTED_PROXIES"] == "1"
    assert "GATEWAY_TRUSTED_PROXIES" not in direct.environment
    assert direct.environment["GATEWAY_BIND"] == "10.0.0.1:8080"


def test_an_ipv6_address_to_listen_on_needs_no_brackets(options, tmp_path):
    here, everywhere = replace(options, host="::1"), replace(options, host="::")
    gateway = programs.gateway(here, Settings(), tmp_path, direct=True)
    programs.nginx_proxy(everywhere, Settings(), tmp_path, "nginx")

    assert gateway.environment["GATEWAY_BIND"] == "[::1]:8080"
    configuration = (tmp_path / "nginx.conf").read_text(encoding="utf-8")
    assert all(f"listen {address} default_server;" in configuration for address in ("[::]:8080", "8080"))
    assert [run.url for run in (here, everywhere)] == ["http://[::1]:8080", "http://localhost:8080"]
    assert replace(options, host="192.0.2.1", tls_dir=tmp_path).url == "https://192.0.2.1:8080"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::", "::1", "192.0.2.1"])  # noqa: S104  # not bound
def test_make_adds_a_model_at_the_url_of_make_run(options, host):
    values = [f"HOST={host}", "PORT=8080", "TLS_DIR="]
    command = ["make", "--dry-run", "add-model", "FOLDER=pets", *values]
    recipe = subprocess.run(command, cwd=programs.ROOT, capture_output=True, text=True, check=True).stdout

    assert f"--url='{replace(options, host=host).url}'" in recipe


def test_the_gateway_accepts_its_environment(options, tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_PORT", "8000")  # exported by make
    settings = Settings.from_env(programs.gateway(options, Settings(), tmp_path, direct=False).environment)
    assert settings.tfs_target == "127.0.0.1:8500"
    assert settings.models_config == options.models_config
    assert settings.cards_dir == options.models_config.parent


def test_settings_of_the_caller_reach_the_gateway(options, monkeypatch):
    own = {"GATEWAY_THREADS": "3", "GATEWAY_CARDS_DIR": "/cards", "GATEWAY_CALLS_IN_FLIGHT": "7"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert programs.gateway_environment(options).items() >= own.items()


def test_either_the_gateway_or_the_model_server_batches(options):
    calls = [
        Settings.from_env(programs.gateway_environment(replace(options, batching_config=file))).calls_in_flight
        for file in (None, Path("batching.config"))
    ]
    assert calls == [2, 0]


def test_a_program_may_stop_for_as_long_as_its_requests_may_take(options, tmp_path):
    settings = Settings(graceful_timeout_s=40, request_deadline_s=15.0)
    assert programs.gateway(options, settings, tmp_path, direct=False).stop_timeout_s > 40
    assert programs.nginx_proxy(options, settings, tmp_path, "nginx").stop_timeout_s > 15


def test_nginx_finishes_requests_when_it_is_stopped(options, tmp_path):
    assert programs.nginx_proxy(options, Settings(), tmp_path, "nginx").stop_signal == signal.SIGQUIT


def test_nginx_forwards_as_many_requests_as_all_workers_accept(options, tmp_path):
    programs.nginx_proxy(options, Settings(workers=3, threads=5, max_waiting=7), tmp_path, "nginx")
    assert f" max_conns={3 * (5 + 7)};" in (tmp_path / "nginx.conf").read_text(encoding="utf-8")


def test_nginx_forwards_to_the_gateway(options, tmp_path):
    programs.nginx_proxy(options, Settings(), tmp_path, "nginx")
    text = (tmp_path / "nginx.conf").read_text(encoding="utf-8")
    assert "listen 127.0.0.1:8080 default_server;" in text
    assert "server 127.0.0.1:8000;" in text


def test_nginx_has_the_body_limit_of_the_gateways_settings(options, tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_MAX_BODY_BYTES", "ignored")
    monkeypatch.setenv("NGINX_READ_TIMEOUT_S", "99")
    programs.nginx_proxy(options, Settings(max_body_bytes=123456), tmp_path, "nginx")
    text = (tmp_path / "nginx.conf").read_text(encoding="utf-8")
    assert "client_max_body_size 123456;" in text
    assert "proxy_read_timeout 99s;" in text
