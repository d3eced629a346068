import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import Settings
from model_server.options import parse
from tools import serverless

ROOT = Path(__file__).parents[3]


@pytest.fixture
def both(tmp_path):
    config = tmp_path / "models" / "models.config"
    return list(serverless.programs(config, tmp_path, {"PORT": "9000", "GATEWAY_THREADS": "3", "PATH": "/bin"}))


def test_the_slower_one_is_started_first(both):
    assert [program.name for program in both] == ["model-server", "gateway"]


def test_they_talk_over_one_socket_and_know_the_same_models(both, tmp_path):
    model_server, gateway = both
    line = parse(model_server.command[3:])
    settings = Settings.from_env(gateway.environment)
    assert (line.unknown, line.ignored) == ((), ())
    assert settings.tfs_target == f"unix:{line.options.grpc_socket_path}" == f"unix:{tmp_path}/model-server.sock"
    assert str(settings.models_config) == line.options.model_config_file == f"{tmp_path}/models/models.config"
    assert settings.cards_dir == tmp_path / "models"
    assert (line.options.port, line.options.rest_api_port) == (0, 0)


def test_the_gateway_listens_on_port_with_the_settings_given(both):
    settings = Settings.from_env(both[1].environment)
    assert (settings.bind, settings.threads) == ("0.0.0.0:9000", 3)
    assert both[1].environment["PATH"] == "/bin"


def test_without_port_it_is_8080(tmp_path):
    _, gateway = serverless.programs(tmp_path / "models.config", tmp_path, {})
    assert gateway.environment["GATEWAY_BIND"] == "0.0.0.0:8080"


def test_the_model_server_takes_more_calls_than_the_gateway_makes(both):
    settings = Settings.from_env({"GATEWAY_WORKERS": "1"})
    assert parse(both[0].command[3:]).options.grpc_max_threads > 2 * settings.workers * settings.threads


def test_nothing_heavy_is_imported_before_the_model_server_starts():
    code = "import sys, tools.serverless; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert not {"pydantic", "gateway", "numpy", "flask", "grpc"} & set(loaded.split())


@pytest.mark.parametrize("argument", ["train", "--port=80"])
def test_what_is_no_option_is_told(capsys, argument):
    with pytest.raises(SystemExit):
        serverless.main([argument], {})
    assert argument in capsys.readouterr().err
