"""Lists of URLs and checksums, against a real HTTP server."""

import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.mirror import Mirror
from tests.support.photo_sets import picture
from train.cli.main import app
from train.data.download import CHUNK_BYTES
from train.data.examples import DataError
from train.data.fetch_list import fetch_all, read_list

PICTURES = {f"photos/{number}.png": picture(number) for number in range(5)}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_list(folder: Path, mirror: Mirror, contents: dict[str, bytes]) -> Path:
    mirror.files |= {f"/{name}": content for name, content in contents.items()}
    rows = [f"{name},{mirror.url}/{name},{sha256(content)},cat" for name, content in contents.items()]
    path = folder / "urls.csv"
    path.write_text("\n".join(["file,url,sha256,label", *rows]))
    return path


def nothing():
    pass


def test_all_pictures_arrive_and_are_not_asked_for_again(mirror: Mirror, tmp_path: Path):
    wanted = read_list(write_list(tmp_path, mirror, PICTURES))
    done = []
    assert fetch_all(wanted, tmp_path / "to", 3, lambda: done.append(1)) == []
    assert len(done) == 5
    for name, content in PICTURES.items():
        assert (tmp_path / "to" / name).read_bytes() == content
    asked = len(mirror.asked)
    assert fetch_all(wanted, tmp_path / "to", 3, nothing) == []
    assert len(mirror.asked) == asked == 5


def test_a_download_that_broke_off_is_continued_by_the_next_call(mirror: Mirror, tmp_path: Path):
    content = bytes(range(256)) * 1000
    wanted = read_list(write_list(tmp_path, mirror, {"a.bmp": content}))
    mirror.break_after = [100_000, 0, 0]
    (fault,) = fetch_all(wanted, tmp_path / "to", 1, nothing)
    assert "a.bmp could not be downloaded" in fault
    assert not (tmp_path / "to/a.bmp").exists()
    assert fetch_all(wanted, tmp_path / "to", 1, nothing) == []
    assert mirror.asked[-1] == f"bytes={CHUNK_BYTES}-"
    assert (tmp_path / "to/a.bmp").read_bytes() == content


def test_what_is_not_to_be_had_does_not_keep_the_others(mirror: Mirror, tmp_path: Path):
    path = write_list(tmp_path, mirror, PICTURES)
    del mirror.files["/photos/1.png"]
    mirror.files["/photos/3.png"] = b"another picture"
    faults = fetch_all(read_list(path), tmp_path, 2, nothing)
    assert ["404" in faults[0], "expected content of SHA-256" in faults[1], len(faults)] == [True, True, 2]
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == ["0.png", "2.png", "4.png"]


def test_a_file_of_other_content_is_told_and_kept(mirror: Mirror, tmp_path: Path):
    wanted = read_list(write_list(tmp_path, mirror, {"a.png": picture(0)}))
    (tmp_path / "a.png").write_bytes(b"mine")
    (fault,) = fetch_all(wanted, tmp_path, 1, nothing)
    assert f"a.png has SHA-256 {sha256(b'mine')}; delete it to have it fetched again" in fault
    assert (tmp_path / "a.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"../a.png,http://h/a,{'0' * 64}", "file: expected a path below the folder, found '../a.png'"),
        (f"/etc/a.png,http://h/a,{'0' * 64}", "file: expected a path below the folder, found '/etc/a.png'"),
        (f"..\\a.png,http://h/a,{'0' * 64}", "file: expected a path below the folder"),
        (f",http://h/a,{'0' * 64}", "file: expected a path below the folder, found ''"),
        ("a.png,http://h/a,", "sha256: expected 64 hexadecimal digits, found ''"),
        (f"a.png,http://h/a,{'g' * 64}", "sha256: expected 64 hexadecimal digits, found 'ggg"),
        (f"b.png,http://h/b,{'1' * 64}", "file: 'b.png' was listed before, with another checksum"),
    ],
)
def test_a_row_that_cannot_be_used_is_told_with_its_line(tmp_path: Path, row: str, message: str):
    path = tmp_path / "urls.csv"
    path.write_text(f"file,url,sha256\nb.png,http://h/b,{'0' * 64}\n{row}\n")
    with pytest.raises(DataError) as raised:
        read_list(path)
    assert f"line 3: {message}" in str(raised.value)


def test_a_list_without_checksums_is_refused(tmp_path: Path):
    (tmp_path / "urls.csv").write_text("file,url\na.png,http://h/a\n")
    with pytest.raises(DataError, match="no column 'sha256', only file, url"):
        read_list(tmp_path / "urls.csv")


def test_the_command_counts_and_ends_with_1_if_something_is_missing(mirror: Mirror, tmp_path: Path):
    path = write_list(tmp_path, mirror, PICTURES)
    del mirror.files["/photos/1.png"]
    arguments = ["fetch", str(path), "--to", str(tmp_path / "to")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 1
    assert "4 of 5 pictures are in" in result.output
    assert "1.png could not be downloaded" in result.output
    mirror.files["/photos/1.png"] = PICTURES["photos/1.png"]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
