"""Contents of files are remembered, and read again when anything about a file has changed."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.support.photo_sets import noise_image
from train.data.contents import SETTLED_NS, Content, read_contents
from train.data.examples import Example


def at(seconds: float):
    """Return a clock that is this much ahead of the files of a test."""
    return lambda: time.time_ns() + round(seconds * 1e9)


LATER = at(2 * SETTLED_NS / 1e9)


class Reader:
    """Reads the files of a folder, and counts those that are not remembered."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.memory = folder / "cache/contents.json"

    def read(self, clock=LATER) -> tuple[list[Content | OSError], int]:
        examples = [Example(path, (0,), path.name) for path in sorted(self.folder.glob("*.png"))]
        steps = []
        contents = read_contents(examples, self.memory, lambda *step: steps.append(step), clock)
        return contents, len(steps)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(noise_image(number))
    return Reader(tmp_path)


def test_unchanged_files_are_read_once(reader: Reader):
    first, first_count = reader.read()
    second, second_count = reader.read()

    assert (first_count, second_count) == (3, 0)
    assert first == second
    assert len({content.sha256 for content in first}) == 3


def test_a_file_that_changed_is_read_again_even_if_size_and_time_are_as_before(reader: Reader):
    first, _ = reader.read()
    path = reader.folder / "1.png"
    content, status = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + b"x")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second, count = reader.read()

    assert count == 1
    assert [before == after for before, after in zip(first, second, strict=True)] == [True, False, True]


def test_a_file_that_was_written_just_now_is_not_remembered(reader: Reader):
    assert reader.read(time.time_ns)[1] == 3
    assert reader.read()[1] == 3
    assert reader.read()[1] == 0


def test_files_that_are_gone_are_forgotten_and_told(reader: Reader):
    reader.read()
    path = reader.folder / "1.png"
    path.unlink()
    path.symlink_to("nowhere")
    contents, count = reader.read()

    assert count == 0
    assert isinstance(contents[1], FileNotFoundError)
    assert str(path) not in json.loads(reader.memory.read_text())["files"]


@pytest.mark.parametrize("memory", [b"", b"{", b"[]", b'{"version": "0", "files": {}}', b"\xff"])
def test_a_damaged_memory_is_replaced(reader: Reader, memory: bytes):
    first, _ = reader.read()
    reader.memory.write_bytes(memory)

    assert reader.read() == (first, 3)
    assert reader.read() == (first, 0)


def test_an_undecodable_file_has_no_perceptual_hash(reader: Reader):
    (reader.folder / "1.png").write_bytes(b"not an image")
    contents, _ = reader.read()

    assert [content.perceptual_hash is None for content in contents] == [False, True, False]
