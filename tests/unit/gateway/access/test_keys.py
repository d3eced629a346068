import os
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.access.keys import Keys, KeysError, StoredKey, parse
from gateway.reloaded_file import UnreadableFileError
from image_gateway_client.keys import add_key, hash_key, make_key

# Computed independently: printf %s KEY | openssl dgst -sha256 -mac HMAC -macopt hexkey:SALT
KNOWN_KEY = "igk_door.0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
KNOWN_SALT = "000102030405060708090a0b0c0d0e0f"
KNOWN_HASH = "0e116afbb34f11cd29e2d84b7f872f111cbde06b44bd8df22b40477071653c50"
KNOWN_LINE = f"door:{KNOWN_SALT}:{KNOWN_HASH}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "api-keys"


def test_the_hash_is_hmac_sha256_of_the_whole_key():
    assert Keys([KNOWN_LINE], None).owner(KNOWN_KEY) == "door"


def test_no_other_text_matches_a_key():
    keys = Keys([KNOWN_LINE], None)
    for text in (
        "",
        "igk_",
        "door",
        "igk_door",
        "igk_door.",
        KNOWN_KEY[:-1],
        KNOWN_KEY + "x",
        KNOWN_KEY.removeprefix("igk_"),
        KNOWN_KEY.replace("door", "gate"),
        KNOWN_KEY.upper(),
        KNOWN_HASH,
        KNOWN_LINE,
        "igk_döör.é",
    ):
        assert keys.owner(text) is None, text


def test_each_key_has_its_owner():
    secrets = {name: make_key(name) for name in ("one", "two", "three")}
    keys = Keys([hash_key(name, key) for name, key in secrets.items()], None)
    assert {name: keys.owner(key) for name, key in secrets.items()} == {name: name for name in secrets}
    assert keys.owner(secrets["one"].replace("one", "two")) is None


def test_an_unknown_name_costs_a_comparison_too(monkeypatch: pytest.MonkeyPatch):
    comparisons = []
    matches = StoredKey.matches
    monkeypatch.setattr(StoredKey, "matches", lambda self, key: comparisons.append(key) or matches(self, key))
    keys = Keys([KNOWN_LINE], None)
    keys.owner("igk_nobody.x")
    keys.owner("igk_door.x")
    assert comparisons == ["igk_nobody.x", "igk_door.x"]


def test_a_malformed_line_is_refused_and_not_repeated():
    for line in (
        "",
        "door",
        KNOWN_KEY,
        f"door:{KNOWN_SALT}",
        f":{KNOWN_SALT}:{KNOWN_HASH}",
        f"{KNOWN_LINE}:",
        f"a door:{KNOWN_SALT}:{KNOWN_HASH}",
        f"door:{KNOWN_SALT}:{KNOWN_HASH[:-1]}",
        f"door:{KNOWN_SALT.upper()}:{KNOWN_HASH}",
        f"door:{KNOWN_SALT[:-2]}:{KNOWN_HASH}",
    ):
        with pytest.raises(KeysError, match="here: entry 2 is not NAME:SALT:HASH") as refusal:
            parse([KNOWN_LINE, line], source="here")
        assert not line or line not in str(refusal.value)


def test_two_keys_with_the_same_name_are_refused(file: Path):
    with pytest.raises(KeysError, match="has two keys named door"):
        parse([KNOWN_LINE, KNOWN_LINE], source="here")
    file.write_text(KNOWN_LINE)
    with pytest.raises(KeysError, match="both have keys named door"):
        Keys([KNOWN_LINE], file)


def test_a_file_may_have_comments_and_empty_lines(file: Path):
    file.write_text(f"# ours\n\n  {KNOWN_LINE}  \r\n")
    assert Keys((), file).owner(KNOWN_KEY) == "door"


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"nothing"])
def test_an_unusable_file_is_refused_at_the_start(file: Path, content: bytes | None):
    if content is not None:
        file.write_bytes(content)
    with pytest.raises((KeysError, UnreadableFileError), match="api-keys"):
        Keys((), file)


def test_an_empty_file_has_no_keys(file: Path):
    file.touch()
    assert Keys((), file).owner(KNOWN_KEY) is None


# Changes of the file


def test_keys_appear_and_disappear_with_their_lines(file: Path):
    first = add_key("first", file)
    keys = Keys((), file)
    second = add_key("second", file)
    assert (keys.owner(first), keys.owner(second)) == ("first", "second")
    remaining = [line for line in file.read_text().splitlines() if not line.startswith("first:")]
    file.write_text("\n".join(remaining))
    assert (keys.owner(first), keys.owner(second)) == (None, "second")


def test_a_replaced_file_is_read(file: Path):
    """Editors and Kubernetes replace files: the name points to another file, perhaps with the same time and size."""
    old, new = file.with_name("1"), file.with_name("2")
    keys = {name: add_key(name[0] * 3, Path(path)) for name, path in (("a", old), ("b", new))}
    os.utime(new, ns=(old.stat().st_atime_ns, old.stat().st_mtime_ns))
    os.utime(old, ns=(old.stat().st_atime_ns, old.stat().st_mtime_ns))
    file.symlink_to(old)
    stored = Keys((), file)
    assert stored.owner(keys["a"]) == "aaa"
    replacement = file.with_name("replacement")
    replacement.symlink_to(new)
    replacement.rename(file)
    assert (stored.owner(keys["a"]), stored.owner(keys["b"])) == (None, "bbb")


@pytest.mark.parametrize("damage", ["missing", "malformed"])
def test_a_damaged_file_changes_nothing_and_is_logged_once(file: Path, damage: str):
    key = add_key("one", file)
    keys = Keys((), file)
    content = file.read_text()
    if damage == "missing":
        file.unlink()
    else:
        file.write_text(f"{content}half a li")
    with capture_logs() as logs:
        assert [keys.owner(key) for _ in range(3)] == ["one"] * 3
    assert [line["event"] for line in logs] == ["api_keys_unreadable"]
    other = add_key("two", file.with_name("new"))
    file.with_name("new").replace(file)
    assert (keys.owner(key), keys.owner(other)) == (None, "two")


def test_keys_of_the_variable_do_not_depend_on_the_file(file: Path):
    added = add_key("one", file)
    keys = Keys([KNOWN_LINE], file)
    assert (keys.owner(KNOWN_KEY), keys.owner(added)) == ("door", "one")
    file.write_text("")
    assert (keys.owner(KNOWN_KEY), keys.owner(added)) == ("door", None)


def test_no_key_is_refused_while_the_file_is_read_again(file: Path):
    key = add_key("one", file)
    keys = Keys((), file)
    content = file.read_text()
    wrong_owners: list[str | None] = []
    stop = threading.Event()

    def check() -> None:
        while not stop.is_set():
            if (owner := keys.owner(key)) != "one":
                wrong_owners.append(owner)

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(50):
        replacement = file.with_name("replacement")
        replacement.write_text(f"# {number}\n{content}")
        replacement.replace(file)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong_owners == []
