"""Downloads against a real HTTP server that sends ranges, wrong content, errors, or only the beginning."""

import gzip
import hashlib
from pathlib import Path

import pytest

from tests.support.mirror import Mirror
from train.data.download import CHUNK_BYTES, DownloadError, download, read_content

CONTENT = bytes(range(256)) * 1000
COMPRESSED = gzip.compress(CONTENT, mtime=0)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def ignore(_name: str, _done: int, _total: int | None):
    pass


def test_a_compressed_file_is_checked_by_its_content_and_stays_compressed(mirror: Mirror, tmp_path: Path):
    mirror.files["/a.gz"] = COMPRESSED
    path = tmp_path / "a.gz"
    download(path, [f"{mirror.url}/a.gz"], SHA256, ignore)

    assert path.read_bytes() == COMPRESSED
    assert read_content(path) == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_a_plain_file_is_checked_as_it_is_stored(mirror: Mirror, tmp_path: Path):
    mirror.files["/a"] = CONTENT
    download(tmp_path / "a", [f"{mirror.url}/a"], SHA256, ignore)

    assert read_content(tmp_path / "a") == CONTENT


def test_progress_counts_up_to_the_size_of_the_file(mirror: Mirror, tmp_path: Path):
    mirror.files["/a"] = CONTENT
    steps: list[tuple[str, int, int | None]] = []
    download(tmp_path / "a", [f"{mirror.url}/a"], SHA256, lambda *step: steps.append(step))

    assert steps[-1] == ("a", len(CONTENT), len(CONTENT))
    assert steps == sorted(steps)


def test_a_cut_connection_is_resumed_where_it_broke(mirror: Mirror, tmp_path: Path):
    mirror.files["/a"] = CONTENT
    mirror.break_after = [CHUNK_BYTES + 1000, CHUNK_BYTES + 1000]  # an incomplete chunk is lost
    download(tmp_path / "a", [f"{mirror.url}/a"], SHA256, ignore)

    assert mirror.range_headers == [None, f"bytes={CHUNK_BYTES}-", f"bytes={2 * CHUNK_BYTES}-"]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_later_call_resumes_an_incomplete_download(mirror: Mirror, tmp_path: Path):
    mirror.files["/a"] = CONTENT
    mirror.break_after = [100_000, 0, 0]

    with pytest.raises(DownloadError):
        download(tmp_path / "a", [f"{mirror.url}/a"], SHA256, ignore)

    assert not (tmp_path / "a").exists()

    download(tmp_path / "a", [f"{mirror.url}/a"], SHA256, ignore)

    assert mirror.range_headers[-1] == f"bytes={CHUNK_BYTES}-"
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_the_whole_file_again(mirror: Mirror, tmp_path: Path):
    mirror.files["/a"] = CONTENT
    mirror.break_after = [100_000]
    mirror.ranges_supported = False
    download(tmp_path / "a", [f"{mirror.url}/a"], SHA256, ignore)

    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_complete_partial_file_is_accepted(mirror: Mirror, tmp_path: Path):
    mirror.files["/a"] = CONTENT
    url = f"{mirror.url}/a"
    partial_path(tmp_path, url).write_bytes(CONTENT)
    download(tmp_path / "a", [url], SHA256, ignore)

    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_partial_file_of_another_file_is_discarded(mirror: Mirror, tmp_path: Path):
    mirror.files["/a"] = CONTENT
    url = f"{mirror.url}/a"
    partial_path(tmp_path, url).write_bytes(b"from before the file changed")
    download(tmp_path / "a", [url], SHA256, ignore)

    assert (tmp_path / "a").read_bytes() == CONTENT
    assert mirror.range_headers[-1] is None


def test_wrong_content_leaves_no_file(mirror: Mirror, tmp_path: Path):
    mirror.files["/a"] = b"an error page"

    with pytest.raises(DownloadError) as raised:
        download(tmp_path / "a", [f"{mirror.url}/a"], SHA256, ignore)

    assert f"expected content of SHA-256 {SHA256}, found" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_damaged_gzip_is_wrong_content(mirror: Mirror, tmp_path: Path):
    mirror.files["/a.gz"] = COMPRESSED[:-20]

    with pytest.raises(DownloadError, match="damaged gzip"):
        download(tmp_path / "a.gz", [f"{mirror.url}/a.gz"], SHA256, ignore)

    assert list(tmp_path.iterdir()) == []


def test_the_next_mirror_is_tried_and_every_failure_reported(mirror: Mirror, tmp_path: Path):
    mirror.files["/good/a"] = CONTENT
    mirror.files["/wrong/a"] = b"other"
    urls = [f"{mirror.url}/{folder}/a" for folder in ("absent", "wrong", "good")]
    download(tmp_path / "a", urls, SHA256, ignore)

    assert (tmp_path / "a").read_bytes() == CONTENT
    with pytest.raises(DownloadError) as raised:
        download(tmp_path / "b", urls[:2], SHA256, ignore)

    message = str(raised.value)

    assert "b could not be downloaded" in message
    assert "404" in message
    assert urls[1] in message


def test_an_unreachable_host_is_reported(tmp_path: Path):
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:1/a"):
        download(tmp_path / "a", ["http://127.0.0.1:1/a"], SHA256, ignore)


def partial_path(folder: Path, url: str) -> Path:
    """Return the path of the partial file of `a` from `url`."""
    return folder / f"a.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"
