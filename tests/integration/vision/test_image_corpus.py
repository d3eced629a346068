"""Decode files from other sources: unusual, damaged and malicious ones, and photos of all orientations.

The corpora are not part of the repository; without them, these tests are skipped.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vision.decode import decode, read_header

ROOT = Path(__file__).parents[3]
HOSTILE = ROOT / "../shared/data/hostile"
PHOTOS = ROOT / "../shared/data/photos"
MAX_PIXELS = 20_000_000
HEADROOM_MIB = 512  # address space in addition to that of the libraries

needs_hostile = pytest.mark.skipif(not HOSTILE.is_dir(), reason="the corpus of hostile images is missing")
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="the labelled photos are missing")


def decode_in_subprocess(paths: list[Path]) -> list[dict]:
    """Decode in another process; its standard error, to which libjpeg and libpng write, is discarded."""
    completed = subprocess.run(
        [sys.executable, "-m", "tests.support.decode_files", str(MAX_PIXELS), str(HEADROOM_MIB)],
        input="".join(f"{path}\n" for path in paths),
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    results = [json.loads(line) for line in completed.stdout.splitlines()]
    unfinished = paths[len(results)] if len(results) < len(paths) else None
    assert completed.returncode == 0, f"exit status {completed.returncode} at {unfinished}"
    return results


@pytest.fixture(scope="module")
def manifest():
    with (HOSTILE / "manifest.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def results(manifest):
    paths = [HOSTILE / name for name in manifest]
    return {
        str(path.relative_to(HOSTILE)): result for path, result in zip(paths, decode_in_subprocess(paths), strict=True)
    }


@needs_hostile
def test_every_file_becomes_an_image_or_an_image_error(results):
    outcomes = {result["outcome"] for result in results.values()}

    assert outcomes == {"decoded", "UnsupportedFormatError", "TooManyPixelsError", "UnreadableImageError"}
    assert {result["kind"] for result in results.values() if "kind" in result} == {"uint8, 3"}


@needs_hostile
def test_no_file_takes_much_time_or_memory(results):
    assert max(result["cpu_s"] for result in results.values()) < 5
    assert sum(result["grown_mib"] for result in results.values()) < 300


@needs_hostile
def test_decompression_bombs_cost_almost_nothing(manifest):
    bombs = [HOSTILE / name for name in manifest if name.startswith("made_here/")]
    ordinary = HOSTILE / "exif_samples/Canon_40D.jpg"

    first, *results = decode_in_subprocess([ordinary, *bombs])

    assert first["outcome"] == "decoded"
    assert sum(result["grown_mib"] for result in results) < 30, "ztxt_60MB_comment.png makes libpng inflate 8 MB"
    oversized = [
        result for path, result in zip(bombs, results, strict=True) if "bomb" in path.name or "claims" in path.name
    ]
    assert {result["outcome"] for result in oversized} == {"TooManyPixelsError"}


ACCEPTED = {"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF"}  # as Pillow names them
REJECTED = {"pillow/16bit.s.tif": "unsigned integers"}  # on purpose


@needs_hostile
def test_files_that_two_other_decoders_read_are_decoded(manifest, results):
    rejected = {}
    for name, row in manifest.items():
        both = row["opencv"].startswith("ok") and row["pillow"].startswith("ok")
        if both and row["pillow"].split()[1] in ACCEPTED and results[name]["outcome"] == "UnreadableImageError":
            rejected[name] = results[name]["reason"]

    assert rejected.keys() == REJECTED.keys()
    assert all(reason in rejected[name] for name, reason in REJECTED.items())


@needs_hostile
def test_sizes_equal_those_of_opencv(manifest, results):
    decoded = {name: result["size"] for name, result in results.items() if result["outcome"] == "decoded"}
    reports = {name: manifest[name]["opencv"].split() for name in decoded}
    sizes = {name: report[1].split("x") for name, report in reports.items() if report[0] == "ok"}

    assert sizes
    for name, size in sizes.items():
        assert sorted(decoded[name]) == sorted(map(int, size)), name


@needs_hostile
def test_headers_have_the_size_of_the_decoded_image(results):
    sizes = {name: result["size"] for name, result in results.items() if result["outcome"] == "decoded"}

    assert sizes
    for name, size in sizes.items():
        header = read_header((HOSTILE / name).read_bytes())
        assert sorted(size) == sorted((header.width, header.height)), name


@needs_photos
def test_photos_of_all_orientations_become_the_same_image():
    upright = decode((PHOTOS / "orientation/Landscape_1.jpg").read_bytes(), max_pixels=MAX_PIXELS)

    assert upright.shape == (1200, 1800, 3)
    for orientation in range(9):
        data = (PHOTOS / f"orientation/Landscape_{orientation}.jpg").read_bytes()
        image = decode(data, max_pixels=MAX_PIXELS)
        assert image.shape == upright.shape
        difference, mirrored = (np.abs(image.astype(np.int16) - other).mean() for other in (upright, upright[:, ::-1]))
        assert difference < 6, f"orientation {orientation}"
        assert mirrored > 20


@needs_photos
def test_photos_have_the_size_in_their_labels():
    with (PHOTOS / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["format"] in ACCEPTED]

    assert len(rows) >= 20
    for row in rows:
        stored = int(row["stored height"]), int(row["stored width"])
        image = decode((PHOTOS / row["file"]).read_bytes(), max_pixels=MAX_PIXELS)
        assert image.shape[:2] == (stored[::-1] if row["exif orientation"] in {"5", "6", "7", "8"} else stored), row[
            "file"
        ]
