import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway import reloaded_file
from gateway.reloaded_file import ReloadedFile, UnreadableFileError

UNREADABLE = "numbers_unreadable"


def write(path: Path, text: str) -> None:
    """Write with a time stamp later than every one before, however coarse the clock is."""
    stamp_ns = path.stat().st_mtime_ns + 1_000_000_000 if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(stamp_ns, stamp_ns))


def numbers(path: Path) -> ReloadedFile[list[int]]:
    return ReloadedFile(path, lambda text: [int(word) for word in text.split()], unreadable_event=UNREADABLE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "numbers"
    write(path, "1 2")
    return path


def test_a_changed_file_is_parsed_again(path: Path):
    file = numbers(path)
    assert file.current() == [1, 2]

    write(path, "3")

    assert file.current() == [3]


def test_an_unchanged_file_is_not_parsed_again(path: Path):
    texts: list[str] = []
    file = ReloadedFile(path, texts.append, unreadable_event=UNREADABLE)

    file.current()
    file.current()

    assert texts == ["1 2"]


def test_a_replacement_with_the_same_time_and_size_is_noticed(path: Path):
    file = numbers(path)
    stat = path.stat()
    replacement = path.with_name("replacement")
    replacement.write_text("3 4")
    os.utime(replacement, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    replacement.replace(path)

    assert file.current() == [3, 4]


def test_a_change_in_place_that_keeps_size_and_time_is_noticed(path: Path):
    file = numbers(path)
    assert file.current() == [1, 2]
    status = path.stat()

    path.write_text("3 4")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert file.current() == [3, 4]


def test_a_second_change_that_leaves_no_trace_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Some file systems store times in whole seconds."""
    now_s = [1000.0]
    monkeypatch.setattr(reloaded_file.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(reloaded_file, "_stamp", lambda status: (status.st_size,))
    file = numbers(path)

    path.write_text("3 4")
    now_s[0] += 100  # nothing was read meanwhile
    assert file.current() == [3, 4]

    path.write_text("5 6")
    assert file.current() == [3, 4], "by now the file system would store another time"


def test_what_is_read_now_depends_on_the_file_alone(path: Path):
    early, late = numbers(path), numbers(path)
    write(path, "3")
    assert early.latest() == [3]

    write(path, "broken")

    assert [early.latest(), late.latest()] == [None, None]
    assert [early.current(), late.current()] == [[3], [1, 2]]
    path.unlink()
    assert [early.latest(), late.latest()] == [None, None]
    write(path, "4")
    assert [early.latest(), late.latest()] == [[4], [4]]


def test_a_file_that_is_not_required_may_come_later(path: Path):
    path.unlink()
    file = ReloadedFile(path, int, unreadable_event=UNREADABLE, required=False)
    assert file.latest() is None
    with pytest.raises(UnreadableFileError):
        file.current()

    write(path, "3")

    assert (file.latest(), file.current()) == (3, 3)


def test_a_malformed_file_is_parsed_once(path: Path):
    texts: list[str] = []
    file = ReloadedFile(path, lambda text: texts.append(text) or int(text), unreadable_event=UNREADABLE, required=False)

    assert [file.latest() for _ in range(3)] == [None] * 3

    assert texts == ["1 2"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_not_a_regular_file_is_refused_without_waiting(path: Path, make: Callable[[Path], object]):
    file = numbers(path)
    path.unlink()

    make(path)

    assert file.latest() is None
    assert file.current() == [1, 2]


def test_each_reload_is_reported_with_the_new_content(path: Path):
    reloads: list[str] = []
    file = ReloadedFile(path, str, unreadable_event=UNREADABLE, on_reload=reloads.append)
    assert reloads == []

    write(path, "3")
    file.current()
    file.current()

    assert reloads == ["3"]


def test_a_file_that_cannot_be_read_is_refused_at_the_start(path: Path):
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableFileError, match=r"numbers cannot be read: it is not UTF-8 text\."):
        numbers(path)

    path.unlink()
    with pytest.raises(UnreadableFileError, match=r"numbers cannot be read: No such file"):
        numbers(path)


def test_a_malformed_file_is_refused_at_the_start(path: Path):
    path.write_text("one")
    with pytest.raises(ValueError, match="invalid literal"):
        numbers(path)


def test_a_file_that_breaks_later_keeps_its_content_and_is_reported_once_for_each_state(path: Path):
    file = numbers(path)

    with capture_logs() as logs:
        write(path, "broken")
        assert [file.current() for _ in range(3)] == [[1, 2]] * 3
        assert [(line["event"], "broken" in line["reason"]) for line in logs] == [(UNREADABLE, True)]
        path.unlink()
        assert [file.current() for _ in range(3)] == [[1, 2]] * 3
        assert len(logs) == 2

    write(path, "3")
    assert file.current() == [3]


def test_a_file_that_breaks_twice_is_reported_twice(path: Path):
    file = numbers(path)

    with capture_logs() as logs:
        for _ in range(2):
            write(path, "broken")
            file.current()
            write(path, "3")
            assert file.current() == [3]

    assert len(logs) == 2


def test_a_file_that_disappears_twice_and_returns_unchanged_is_reported_twice(path: Path):
    file = numbers(path)
    away = path.with_suffix(".away")

    with capture_logs() as logs:
        for _ in range(2):
            path.rename(away)
            file.current()
            away.rename(path)
            file.current()

    assert len(logs) == 2
