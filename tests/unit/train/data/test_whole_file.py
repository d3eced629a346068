"""A file is written as a whole, or nothing of it stays."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from train.data.whole_file import write_whole

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

    assert done.stdout == f"{errno.EFBIG} {tmp_path / 'a.json.part'}\n"
    assert list(tmp_path.iterdir()) == []
