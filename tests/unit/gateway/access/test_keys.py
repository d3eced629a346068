import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.access.keys import Keys, KeysError, StoredKey, parse
from gateway.errors import KeysUnavailableError
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


def test_a_malformed_line_of_a_file_is_named_by_its_number(file: Path):
    file.write_text(f"# ours\n\n{KNOWN_LINE}\nhalf a line\n")
    with pytest.raises(KeysError, match=r"api-keys: line 4 is not NAME:SALT:HASH"):
        Keys((), file)


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


def damage_malformed(file: Path) -> None:
    file.write_text(f"{file.read_text()}half a li")


def damage_truncated(file: Path) -> None:
    file.write_text(file.read_text()[:-20])


def damage_garbage(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00garbage")


def damage_missing(file: Path) -> None:
    file.unlink()


def damage_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def damage_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def damage_dangling(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def damage_loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def damage_huge(file: Path) -> None:
    with file.open("ab") as sparse:
        sparse.truncate(1 << 40)


DAMAGES = [
    damage_malformed,
    damage_truncated,
    damage_garbage,
    damage_missing,
    damage_directory,
    damage_pipe,
    damage_dangling,
    damage_loop,
    damage_huge,
]


def outcome(keys: Keys, key: str) -> str | None:
    try:
        return keys.owner(key)
    except KeysUnavailableError:
        return "unavailable"


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_revoked_key_stays_revoked_when_its_file_is_damaged_afterwards(file: Path, damage: Callable[[Path], None]):
    revoked, remaining = add_key("one", file), add_key("two", file)
    busy, idle = Keys((), file), Keys((), file)
    assert [outcome(busy, revoked), outcome(idle, revoked)] == ["one"] * 2
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if line.startswith("two:")))
    assert outcome(busy, revoked) is None  # the other one has no request in between

    damage(file)
    started_later = Keys((), file, required=False)

    processes = (busy, idle, started_later)
    assert [outcome(keys, revoked) for keys in processes] == ["unavailable"] * 3
    assert len({outcome(keys, remaining) for keys in processes}) == 1


def test_a_malformed_line_costs_no_other_key(file: Path):
    first, second = add_key("one", file), add_key("two", file)
    keys = Keys((), file)
    lines = file.read_text().splitlines()

    file.write_text(f"{lines[0]}\n{lines[1][:-1]}\n")

    assert [outcome(keys, first), outcome(keys, second), outcome(keys, "igk_x.y")] == ["one"] + ["unavailable"] * 2


def test_a_name_that_is_there_twice_is_nobodys(file: Path):
    old, other = add_key("one", file), add_key("two", file)
    keys = Keys((), file)
    new = make_key("one")

    file.write_text(f"{file.read_text()}{hash_key('one', new)}\n")

    assert [outcome(keys, key) for key in (old, new, other)] == ["unavailable", "unavailable", "two"]


@pytest.mark.parametrize("damage", [damage_missing, damage_malformed], ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_logged_once_and_counts_again_when_it_is_repaired(file: Path, damage: Callable[[Path], None]):
    key = add_key("one", file)
    keys = Keys((), file)
    damage(file)
    with capture_logs() as logs:
        for _ in range(3):
            outcome(keys, key)
            assert outcome(keys, "igk_unknown.x") == "unavailable"
    assert [(line["event"], line["log_level"]) for line in logs] == [("api_keys_unreadable", "warning")]

    other = add_key("two", file.with_name("new"))
    file.with_name("new").replace(file)

    assert (keys.owner(key), keys.owner(other)) == (None, "two")


def test_keys_of_the_variable_remain_valid_while_the_file_is_damaged(file: Path):
    add_key("one", file)
    keys = Keys([KNOWN_LINE], file)
    file.unlink()
    assert outcome(keys, KNOWN_KEY) == "door"


def test_a_key_of_the_variable_is_not_replaced_by_the_file(file: Path):
    add_key("one", file)
    keys = Keys([KNOWN_LINE], file)
    other = make_key("door")

    file.write_text(hash_key("door", other))

    assert [outcome(keys, KNOWN_KEY), outcome(keys, other)] == ["door", "unavailable"]


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
