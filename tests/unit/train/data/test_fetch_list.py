"""Lists of URLs and checksums, against a real HTTP server."""

import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.mirror import Mirror
from tests.support.photo_sets import noise_image
from train.cli.main import app
from train.data.download import CHUNK_BYTES
from train.data.examples import DataError
from train.data.fetch_list import fetch_images, read_list

IMAGES = {f"photos/{number}.png": noise_image(number) for number in range(5)}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_list(folder: Path, mirror: Mirror, contents: dict[str, bytes]) -> Path:
    mirror.files |= {f"/{name}": content for name, content in contents.items()}
    rows = [f"{name},{mirror.url}/{name},{sha256(content)},cat" for name, content in contents.items()]
    path = folder / "urls.csv"
    path.write_text("\n".join(["file,url,sha256,label", *rows]))
    return path


def ignore():
    pass


def test_all_images_are_downloaded_once(mirror: Mirror, tmp_path: Path):
    images = read_list(write_list(tmp_path, mirror, IMAGES))
    done = []

    assert fetch_images(images, tmp_path / "to", 3, lambda: done.append(1)) == []
    assert len(done) == 5
    for name, content in IMAGES.items():
        assert (tmp_path / "to" / name).read_bytes() == content

    request_count = len(mirror.range_headers)

    assert fetch_images(images, tmp_path / "to", 3, ignore) == []
    assert len(mirror.range_headers) == request_count == 5


def test_an_interrupted_download_is_resumed_by_the_next_call(mirror: Mirror, tmp_path: Path):
    content = bytes(range(256)) * 1000
    images = read_list(write_list(tmp_path, mirror, {"a.bmp": content}))
    mirror.break_after = [100_000, 0, 0]
    (problem,) = fetch_images(images, tmp_path / "to", 1, ignore)

    assert "a.bmp could not be downloaded" in problem
    assert not (tmp_path / "to/a.bmp").exists()
    assert fetch_images(images, tmp_path / "to", 1, ignore) == []
    assert mirror.range_headers[-1] == f"bytes={CHUNK_BYTES}-"
    assert (tmp_path / "to/a.bmp").read_bytes() == content


def test_a_failed_download_does_not_stop_the_others(mirror: Mirror, tmp_path: Path):
    path = write_list(tmp_path, mirror, IMAGES)
    del mirror.files["/photos/1.png"]
    mirror.files["/photos/3.png"] = b"another image"
    problems = fetch_images(read_list(path), tmp_path, 2, ignore)

    assert ["404" in problems[0], "expected content of SHA-256" in problems[1], len(problems)] == [True, True, 2]
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == ["0.png", "2.png", "4.png"]


def test_an_existing_file_of_other_content_is_reported_and_kept(mirror: Mirror, tmp_path: Path):
    images = read_list(write_list(tmp_path, mirror, {"a.png": noise_image(0)}))
    (tmp_path / "a.png").write_bytes(b"mine")
    (problem,) = fetch_images(images, tmp_path, 1, ignore)

    assert f"a.png has SHA-256 {sha256(b'mine')} instead of {sha256(noise_image(0))}; delete it" in problem
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
        (f"b.png,http://h/b,{'1' * 64}", "file: 'b.png' is listed twice, with different checksums"),
    ],
)
def test_an_unusable_row_is_reported_with_its_line(tmp_path: Path, row: str, message: str):
    path = tmp_path / "urls.csv"
    path.write_text(f"file,url,sha256\nb.png,http://h/b,{'0' * 64}\n{row}\n")

    with pytest.raises(DataError) as raised:
        read_list(path)

    assert f"line 3: {message}" in str(raised.value)


def test_a_list_without_checksums_is_refused(tmp_path: Path):
    (tmp_path / "urls.csv").write_text("file,url\na.png,http://h/a\n")

    with pytest.raises(DataError, match="no column 'sha256', only file, url"):
        read_list(tmp_path / "urls.csv")


def test_the_command_counts_images_and_ends_with_1_if_any_is_missing(mirror: Mirror, tmp_path: Path):
    path = write_list(tmp_path, mirror, IMAGES)
    del mirror.files["/photos/1.png"]
    arguments = ["fetch", str(path), "--to", str(tmp_path / "to")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)

    assert result.exit_code == 1
    assert "4 of 5 images are in" in result.output
    assert "1.png could not be downloaded" in result.output

    mirror.files["/photos/1.png"] = IMAGES["photos/1.png"]

    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
