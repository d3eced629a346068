"""A file is written as a whole, or nothing of it stays, and an error names the file."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from train.data.whole_file import named_errors, replace_file, write_whole

ROOT = Path(__file__).parents[4]


def test_a_file_is_replaced_at_the_end(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(b"before")
    with write_whole(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"

    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), write_whole(path) as file:
        file.writelines([b"after", "text"])

    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path: Path):
    """Writing a file beyond a limit fails as on a full disk; Python ignores the signal that the kernel sends."""
    script = (
        "import sys; from pathlib import Path; from train.data.whole_file import write_whole\n"
        "try:\n"
        "    with write_whole(Path(sys.argv[1])) as file: file.write(bytes(100_000))\n"
        "except OSError as error: print(error.errno, error.filename)\n"
    )
    command = ["bash", "-c", 'ulimit -f 8; exec "$@"', "bash", sys.executable, "-c", script, str(tmp_path / "a.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=100)

    assert done.stdout == f"{errno.EFBIG} {tmp_path / 'a.json'}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_written_by_its_path_is_replaced_at_the_end(tmp_path: Path):
    file = tmp_path / "log.csv"
    file.write_text("earlier")

    with replace_file(file) as temporary:
        temporary.write_text("later")
        assert file.read_text() == "earlier"

    assert file.read_text() == "later"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_leaves_the_earlier_file_and_is_reported_with_its_name(tmp_path: Path):
    file = tmp_path / "log.csv"
    file.write_text("earlier")

    (tmp_path / "log.tmp.csv").symlink_to("/dev/full")

    with pytest.raises(OSError, match=r"No space left on device: '.*/log\.csv'") as raised, replace_file(file) as path:
        path.write_text("later")

    assert raised.value.errno == errno.ENOSPC
    assert file.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_that_names_a_file_keeps_its_name(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="absent"), named_errors(tmp_path / "other"):
        (tmp_path / "absent").read_text()
