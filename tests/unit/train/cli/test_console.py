"""Problems with paths are described in plain words."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from train.cli.console import describe_error


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda folder: (folder / "absent").read_bytes(), "{folder}/absent: No such file or folder; check the path"),
        (lambda folder: folder.read_bytes(), "{folder} is a folder; expected a file"),
        (lambda folder: (folder / "file/below").read_bytes(), "{folder}/file/below: expected a folder, but it or a f"),
        (lambda folder: list((folder / "file").iterdir()), "{folder}/file: expected a folder, but it or a folder ab"),
        (lambda folder: (folder / "file").mkdir(exist_ok=True), "{folder}/file is a file; expected a folder"),
    ],
    ids=["missing", "a folder", "below a file", "a file", "in the way"],
)
def test_a_path_that_cannot_be_used_is_described_without_numbers(
    tmp_path: Path, use: Callable[[Path], object], message: str
):
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="Errno") as raised:
        use(tmp_path)

    description = describe_error(raised.value)
    assert description.startswith(message.format(folder=tmp_path))
    assert "Errno" not in description


def test_other_errors_of_the_system_keep_their_words():
    assert describe_error(OSError(errno.EIO, "Input/output error", "disk")) == "[Errno 5] Input/output error: 'disk'"
