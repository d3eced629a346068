"""Files are replaced as a whole, and an error names the file."""

import errno
from pathlib import Path

import pytest

from train.data.whole_file import named_errors, replace_file


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path):
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
