import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import Settings
from model_server.options import parse
from tools import serverless

ROOT = Path(__file__).parents[3]


@pytest.fixture
def programs(tmp_path):
    config = tmp_path / "models" / "models.config"
    return list(serverless.programs(config, tmp_path, {"PORT": "9000", "GATEWAY_THREADS": "3", "PATH": "/bin"}))


def test_the_slower_program_is_started_first(programs):
    assert [program.name for program in programs] == ["model-server", "gateway"]


def test_both_programs_use_the_same_socket_and_models(programs, tmp_path):
    model_server, gateway = programs
    line = parse(model_server.command[3:])
    settings = Settings.from_env(gateway.environment)
    assert (line.unknown, line.ignored) == ((), ())
    assert settings.tfs_target == f"unix:{line.options.grpc_socket_path}" == f"unix:{tmp_path}/model-server.sock"
    assert str(settings.models_config) == line.options.model_config_file == f"{tmp_path}/models/models.config"
    assert settings.cards_dir == tmp_path / "models"
    assert (line.options.port, line.options.rest_api_port) == (0, 0)


def test_the_gateway_listens_on_port_with_the_settings(programs):
    settings = Settings.from_env(programs[1].environment)
    assert (settings.bind, settings.threads) == ("*:9000", 3)
    assert programs[1].environment["PATH"] == "/bin"


def test_the_default_port_is_8080(tmp_path):
    _, gateway = serverless.programs(tmp_path / "models.config", tmp_path, {})
    assert gateway.environment["GATEWAY_BIND"] == "*:8080"


def test_the_model_server_accepts_more_calls_than_the_gateway_makes(programs):
    settings = Settings.from_env({"GATEWAY_WORKERS": "1"})
    assert parse(programs[0].command[3:]).options.grpc_max_threads > 2 * settings.workers * settings.threads


def test_nothing_heavy_is_imported_before_the_model_server_starts():
    code = "import sys, tools.serverless; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert not {"pydantic", "gateway", "numpy", "flask", "grpc"} & set(modules.split())


@pytest.mark.parametrize("argument", ["train", "--port=80"])
def test_an_unknown_argument_is_reported(capsys, argument):
    with pytest.raises(SystemExit):
        serverless.main([argument], {})
    assert argument in capsys.readouterr().err
