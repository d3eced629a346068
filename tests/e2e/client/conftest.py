"""The client, its command, and a folder to classify."""

import pytest

from image_gateway_client import Client
from tests.support.client_command import runner


@pytest.fixture(scope="module")
def client(stack):
    with Client(stack.url) as client:
        yield client


@pytest.fixture
def folder(tmp_path, golden):
    """A folder with the golden images 0.png to 9.png and a truncated image."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for data, label, _ in golden:
        (folder / f"{label}.png").write_bytes(data)
    (folder / "cut.png").write_bytes(golden[0][0][:60])
    return folder


@pytest.fixture
def command(stack, tmp_path, monkeypatch, capsys):
    """A function that runs the command in the folder's parent, with the stack."""
    return runner(stack.url, tmp_path, monkeypatch, capsys)
