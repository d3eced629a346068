import contextlib
import re
import stat

import pytest

from gateway.access.keys import Keys, parse
from image_gateway_client import keys
from image_gateway_client.keys import KeyFileError, KeyNameError, add_key, hash_key, list_keys, make_key, remove_key
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


SALT, HASH = "0" * 32, "a1" * 32
FILE = f"# ours\n\none:{SALT}:{HASH}\n  two:{SALT}:{HASH}\n#two:old\nonetwo:{SALT}:{HASH}"


def test_the_keys_of_a_file_are_listed_in_its_order(tmp_path):
    (tmp_path / "api-keys").write_text(FILE)
    assert list_keys(tmp_path / "api-keys") == ["one", "two", "onetwo"]


def test_a_key_is_removed_and_everything_else_preserved(tmp_path):
    file, link = tmp_path / "real", tmp_path / "api-keys"
    file.write_text(FILE)
    file.chmod(0o640)
    link.symlink_to(file)

    remove_key("two", link)

    assert file.read_text() == FILE.replace(f"  two:{SALT}:{HASH}\n", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, file]


def test_a_removed_key_is_refused_by_the_gateway(tmp_path):
    file = tmp_path / "api-keys"
    first, second = add_key("one", file), add_key("two", file)

    remove_key("one", file)

    assert (Keys((), file).owner(first), Keys((), file).owner(second)) == (None, "two")
    assert add_key("one", file) != first


MALFORMED = [
    "one:aabb:cc",
    f"one:{SALT}0:{HASH}",
    f"one:{SALT}:{HASH[1:]}",
    f"one:{SALT}:{HASH.upper()}",
    f"o.ne:{SALT}:{HASH}",
    f"{'x' * 65}:{SALT}:{HASH}",
    f"one:{SALT}:{HASH}:",
    "  # a remark that does not begin the line",
]


@pytest.mark.parametrize("text", [FILE, "", " \n", *MALFORMED, f"{FILE}\none:{SALT}:{HASH}"])
def test_a_file_is_accepted_if_the_gateway_accepts_it(tmp_path, text):
    file = tmp_path / "api-keys"
    file.write_text(text)

    def is_accepted(read):
        try:
            read()
        except ValueError:
            return False
        return True

    assert is_accepted(lambda: list_keys(file)) == is_accepted(lambda: Keys((), file))


def test_two_keys_of_one_name_are_removed_together(tmp_path):
    file = tmp_path / "api-keys"
    file.write_text(f"one:{SALT}:{HASH}\ntwo:{SALT}:{HASH}\n" * 2)
    for refused in (lambda: list_keys(file), lambda: add_key("three", file)):
        with pytest.raises(KeyFileError, match="has two keys named one, which the gateway refuses"):
            refused()

    remove_key("one", file)
    remove_key("two", file)

    assert list_keys(file) == []


def test_a_file_that_another_removal_left_behind_does_not_matter(tmp_path):
    file = tmp_path / "api-keys"
    file.write_text(FILE)
    (tmp_path / "api-keys.part").touch()

    remove_key("two", file)

    assert list_keys(file) == ["one", "onetwo"]
    assert sorted(tmp_path.iterdir()) == [file, tmp_path / "api-keys.part"]


def test_a_key_that_is_removed_at_the_same_time_stays_removed(tmp_path, monkeypatch):
    file = tmp_path / "api-keys"
    file.write_text(FILE)
    replacing = keys.replacing

    @contextlib.contextmanager
    def replace_late(path):
        with replacing(path) as part:
            file.write_text(FILE.replace("one:", "other:"))
            yield part

    monkeypatch.setattr(keys, "replacing", replace_late)
    with pytest.raises(KeyFileError, match="was changed at the same time"):
        remove_key("two", file)

    assert list_keys(file)[0] == "other"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["three", "On", "", "# ours", "one:aa"])
def test_a_key_that_is_not_there_is_not_removed(tmp_path, name):
    (tmp_path / "api-keys").write_text(FILE)
    with pytest.raises(KeyNameError, match="Keys in it: one, two, onetwo"):
        remove_key(name, tmp_path / "api-keys")
    assert (tmp_path / "api-keys").read_text() == FILE


def test_keys_are_listed_and_removed_by_the_command(command):
    for name in ("a", "b"):
        command("keys", "add", name)

    removed = command("keys", "remove", "a")

    assert (removed.status, removed.out, removed.err) == (0, "", "api-keys no longer has the key a.\n")
    assert command("keys", "list").out == "b\n"
    again = command("keys", "remove", "a")
    assert again.status == 2
    assert "no key named a" in " ".join(again.err.split())


@pytest.mark.parametrize(
    "data",
    [
        b"hello world\n",
        f"one:{SALT}:{HASH}\nnote: buy milk\n".encode(),
        f":{SALT}:{HASH}".encode(),
        b"caf\xe9\n",
        b"a:b:xyz\n",
        *(line.encode() for line in MALFORMED),
    ],
)
def test_a_file_of_something_else_is_not_changed(command, tmp_path, data):
    (tmp_path / "notes").write_bytes(data)

    for arguments in (["add", "two"], ["list"], ["remove", "one"]):
        result = command("keys", *arguments, "--file", "notes")
        assert (result.status, result.out) == (2, "")
        assert "notes is not a file of keys: " in " ".join(result.err.replace("│", " ").split())

    assert (tmp_path / "notes").read_bytes() == data


def test_a_missing_folder_or_file_is_one_line(command):
    added = command("keys", "add", "a", "--file", "nope/keys")
    listed = command("keys", "list")

    assert (added.status, added.err) == (2, "error: The folder does not exist; create it first: 'nope'\n")
    assert (listed.status, listed.err) == (2, "error: No such file or directory: 'api-keys'\n")
