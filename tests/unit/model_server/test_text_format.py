import pytest

from model_server.errors import InvalidArgumentError, NotFoundError
from model_server.protos.server_config_pb2 import MonitoringConfig
from model_server.text_format import read_message


def test_a_file_is_read(tmp_path):
    file = tmp_path / "f"
    file.write_text('# comment\nprometheus_config { enable: true path: "/a" }')

    config = read_message(file, MonitoringConfig()).prometheus_config

    assert (config.enable, config.path) == (True, "/a")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=f"{tmp_path}/f; No such file or directory"):
        read_message(tmp_path / "f", MonitoringConfig())


@pytest.mark.parametrize(
    "content",
    [
        b'nome: "a"',
        b"prometheus_config: 1",
        b"\xff\xfe",
        b'prometheus_config { path: "a',
    ],
)
def test_a_file_that_does_not_match_the_message_is_named(tmp_path, content):
    file = tmp_path / "f"
    file.write_bytes(content)

    with pytest.raises(InvalidArgumentError, match=f"Invalid protobuf file: '{file}': "):
        read_message(file, MonitoringConfig())
