import re

import pytest

from gateway.access.keys import Keys, parse
from image_gateway_client.keys import KeyNameError, add_key, hash_key, make_key
from tests.support.client_command import runner


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    return runner("http://localhost:1", tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("name", ["a", "camera-1", "Door_2", "x" * 64])
def test_a_key_has_its_name_and_a_secret_of_32_bytes(name):
    key = make_key(name)
    assert re.fullmatch(rf"igk_{name}\.[A-Za-z0-9_-]{{43}}", key)
    assert make_key(name) != key


@pytest.mark.parametrize("name", ["", "two words", "a.b", "a:b", "é", "x" * 65, "a\n", "#a"])
def test_an_invalid_name_is_refused(name):
    with pytest.raises(KeyNameError, match="is not a valid key name"):
        make_key(name)


def test_the_gateway_recognizes_a_key_by_its_line():
    key = make_key("camera-1")
    assert parse([hash_key("camera-1", key)], source="x")["camera-1"].matches(key)


def test_each_line_of_a_key_has_another_salt():
    key = make_key("a")
    assert hash_key("a", key) != hash_key("a", key)


def test_keys_are_added_to_a_file_that_contains_only_hashes(tmp_path):
    file = tmp_path / "api-keys"
    written = {name: add_key(name, file) for name in ("one", "two")}
    keys = Keys((), file)
    assert {keys.owner(key): key for key in written.values()} == written
    assert not any(secret in file.read_text() for secret in (key.partition(".")[2] for key in written.values()))


@pytest.mark.parametrize("before", ["# ours", "# ours\n", "\n\n"])
def test_the_content_of_the_file_is_preserved(tmp_path, before):
    file = tmp_path / "api-keys"
    file.write_text(before)
    key = add_key("one", file)
    assert file.read_text().startswith(before)
    assert Keys((), file).owner(key) == "one"


def test_a_name_that_is_in_use_is_refused(tmp_path):
    file = tmp_path / "api-keys"
    add_key("one", file)
    before = file.read_text()
    with pytest.raises(KeyNameError, match="already has a key named one"):
        add_key("one", file)
    assert file.read_text() == before


def test_the_command_prints_only_the_key(command, tmp_path):
    result = command("keys", "add", "camera-1", "--file", "mine")
    assert result.status == 0
    assert Keys((), tmp_path / "mine").owner(result.out.strip()) == "camera-1"
    assert result.out.count("\n") == 1
    assert result.out.strip() not in result.err
    assert "mine contains its hash" in result.err


def test_the_command_uses_the_setting_of_the_gateway(command, tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_API_KEYS_FILE", "from-environment")
    assert command("keys", "add", "a").status == 0
    assert (tmp_path / "from-environment").exists()


def test_the_command_refuses_with_a_reason(command):
    assert command("keys", "add", "a").status == 0
    again = command("keys", "add", "a")
    assert (again.status, again.out) == (2, "")
    assert "already has a key named a" in " ".join(again.err.split())
