import os
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.access.keys import Keys, KeysError, StoredKey, parse
from gateway.reloaded_file import UnreadableFileError
from image_gateway_client.keys import add_key, hashed, make_key

# Worked out apart from this code: printf %s KEY | openssl dgst -sha256 -mac HMAC -macopt hexkey:SALT
KNOWN_KEY = "igk_door.0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
KNOWN_SALT = "000102030405060708090a0b0c0d0e0f"
KNOWN_HASH = "0e116afbb34f11cd29e2d84b7f872f111cbde06b44bd8df22b40477071653c50"
KNOWN_LINE = f"door:{KNOWN_SALT}:{KNOWN_HASH}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "api-keys"


def test_the_hash_is_hmac_sha256_of_the_whole_key():
    assert Keys([KNOWN_LINE], None).owner(KNOWN_KEY) == "door"


@pytest.mark.parametrize(
    "key",
    [
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
    ],
)
def test_nothing_but_the_key_itself_fits(key: str):
    assert Keys([KNOWN_LINE], None).owner(key) is None


def test_each_key_has_its_owner():
    made = {name: make_key(name) for name in ("one", "two", "three")}
    keys = Keys([hashed(name, key) for name, key in made.items()], None)
    assert {name: keys.owner(key) for name, key in made.items()} == {name: name for name in made}
    assert keys.owner(made["one"].replace("one", "two")) is None


def test_an_unknown_name_costs_a_comparison_too(monkeypatch: pytest.MonkeyPatch):
    compared = []
    fits = StoredKey.matches
    monkeypatch.setattr(StoredKey, "matches", lambda self, key: compared.append(key) or fits(self, key))
    keys = Keys([KNOWN_LINE], None)
    keys.owner("igk_nobody.x")
    keys.owner("igk_door.x")
    assert compared == ["igk_nobody.x", "igk_door.x"]


@pytest.mark.parametrize(
    "line",
    [
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
    ],
)
def test_a_malformed_line_is_refused_and_not_repeated(line: str):
    with pytest.raises(KeysError, match="here: entry 2 is not NAME:SALT:HASH") as refused:
        parse([KNOWN_LINE, line], source="here")
    assert not line or line not in str(refused.value)


def test_two_keys_of_one_name_are_refused(file: Path):
    with pytest.raises(KeysError, match="has two keys named door"):
        parse([KNOWN_LINE, KNOWN_LINE], source="here")
    file.write_text(KNOWN_LINE)
    with pytest.raises(KeysError, match="both have keys named door"):
        Keys([KNOWN_LINE], file)


def test_a_file_has_comments_and_empty_lines(file: Path):
    file.write_text(f"# ours\n\n  {KNOWN_LINE}  \r\n")
    assert Keys((), file).owner(KNOWN_KEY) == "door"


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"nothing"])
def test_a_file_that_holds_no_keys_is_no_start(file: Path, content: bytes | None):
    if content is not None:
        file.write_bytes(content)
    with pytest.raises((KeysError, UnreadableFileError), match="api-keys"):
        Keys((), file)


def test_an_empty_file_lets_nobody_in(file: Path):
    file.touch()
    assert Keys((), file).owner(KNOWN_KEY) is None


# Changes of the file


def test_keys_come_and_go_with_their_lines(file: Path):
    first = add_key("first", file)
    keys = Keys((), file)
    second = add_key("second", file)
    assert (keys.owner(first), keys.owner(second)) == ("first", "second")
    remaining = [line for line in file.read_text().splitlines() if not line.startswith("first:")]
    file.write_text("\n".join(remaining))
    assert (keys.owner(first), keys.owner(second)) == (None, "second")


def test_a_file_that_is_replaced_is_read(file: Path):
    """As editors do, and Kubernetes with its secrets: the name points elsewhere, times and length may be the same."""
    old, new = file.with_name("1"), file.with_name("2")
    keys = {name: add_key(name[0] * 3, Path(path)) for name, path in (("a", old), ("b", new))}
    os.utime(new, ns=(old.stat().st_atime_ns, old.stat().st_mtime_ns))
    os.utime(old, ns=(old.stat().st_atime_ns, old.stat().st_mtime_ns))
    file.symlink_to(old)
    known = Keys((), file)
    assert known.owner(keys["a"]) == "aaa"
    following = file.with_name("following")
    following.symlink_to(new)
    following.rename(file)
    assert (known.owner(keys["a"]), known.owner(keys["b"])) == (None, "bbb")


@pytest.mark.parametrize("damage", ["gone", "malformed"])
def test_a_damaged_file_changes_nothing_and_is_told_once(file: Path, damage: str):
    key = add_key("one", file)
    keys = Keys((), file)
    content = file.read_text()
    if damage == "gone":
        file.unlink()
    else:
        file.write_text(f"{content}half a li")
    with capture_logs() as logs:
        assert [keys.owner(key) for _ in range(3)] == ["one"] * 3
    assert [line["event"] for line in logs] == ["api_keys_unreadable"]
    other = add_key("two", file.with_name("new"))
    file.with_name("new").replace(file)
    assert (keys.owner(key), keys.owner(other)) == (None, "two")


def test_keys_of_the_variable_stay_whatever_the_file_does(file: Path):
    added = add_key("one", file)
    keys = Keys([KNOWN_LINE], file)
    assert (keys.owner(KNOWN_KEY), keys.owner(added)) == ("door", "one")
    file.write_text("")
    assert (keys.owner(KNOWN_KEY), keys.owner(added)) == ("door", None)


def test_no_request_is_refused_while_the_file_is_read_again(file: Path):
    key = add_key("one", file)
    keys = Keys((), file)
    content = file.read_text()
    wrong: list[str | None] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            if (owner := keys.owner(key)) != "one":
                wrong.append(owner)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(50):
        following = file.with_name("following")
        following.write_text(f"# {number}\n{content}")
        following.replace(file)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
