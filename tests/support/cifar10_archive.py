"""Pack CIFAR-10 images from contact sheets into the publisher's archive, which `train` reads.

    python -m tests.support.cifar10_archive SHEETS FOLDER

SHEETS holds `train/train_*.webp` and `test_*.webp`, lossless sheets of 40 tiles a row, `labels.npz` with the arrays
`train` and `test`, and optionally `test_jpeg.tar.xz` with test images as JPEG. FOLDER receives the archive.
"""

import argparse
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from train.data.cifar10 import ARCHIVE, FOLDER, SIDE, TEST_BATCH, TRAIN_BATCHES, LabelledImages

COLUMNS = 40
JPEG_ARCHIVE = "test_jpeg.tar.xz"
"""JPEG files `test/INDEX_CLASS.jpg`."""


def pack_sheets(sheets: Path, folder: Path) -> Path:
    """Write an archive of the lossless training and test images to `folder`, and return its path."""
    labels = np.load(sheets / "labels.npz")
    test = _read_tiles(sorted(sheets.glob("test_*.webp")))
    test = test[: np.flatnonzero(test.any(axis=(1, 2, 3)))[-1] + 1]  # black tiles fill the last row
    return write_archive(folder, _read_train(sheets, labels["train"]), (test, labels["test"][: len(test)]))


def pack_jpeg_test(sheets: Path, folder: Path) -> Path:
    """Write an archive like `pack_sheets`, whose test images are the decoded JPEG files."""
    images, labels = [], []
    with tarfile.open(sheets / JPEG_ARCHIVE) as archive:
        for member in sorted((member for member in archive if member.isfile()), key=lambda member: member.name):
            content = np.frombuffer(archive.extractfile(member).read(), np.uint8)
            images.append(cv2.imdecode(content, cv2.IMREAD_COLOR_RGB))
            labels.append(int(Path(member.name).stem.rpartition("_")[2]))
    train = _read_train(sheets, np.load(sheets / "labels.npz")["train"])
    return write_archive(folder, train, (np.stack(images), np.array(labels, np.uint8)))


def write_archive(folder: Path, train: LabelledImages, test: LabelledImages) -> Path:
    """Write images uint8[N, 32, 32, 3] RGB and their class numbers in the publisher's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = zip(*(np.array_split(array, len(TRAIN_BATCHES)) for array in train), strict=True)
    with tarfile.open(folder / ARCHIVE, "w:gz", compresslevel=1) as archive:
        for name, batch in zip((*TRAIN_BATCHES, TEST_BATCH), (*parts, test), strict=True):
            content = _rows(*batch)
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return folder / ARCHIVE


def _rows(images: np.ndarray, labels: np.ndarray) -> bytes:
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([labels[:, None], planes], axis=1).astype(np.uint8).tobytes()


def _read_train(sheets: Path, labels: np.ndarray) -> LabelledImages:
    images = _read_tiles(sorted((sheets / "train").glob("train_*.webp")))
    assert len(images) == len(labels), f"{sheets}: {len(images)} training images, but {len(labels)} labels"
    return images, labels


def _read_tiles(paths: Sequence[Path]) -> np.ndarray:
    tiles = []
    for path in paths:
        sheet = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        assert sheet is not None, f"{path} is not an image"
        assert sheet.shape[1] == COLUMNS * SIDE, f"{path}: expected {COLUMNS} tiles a row"
        rows = sheet.reshape(-1, SIDE, COLUMNS, SIDE, 3).transpose(0, 2, 1, 3, 4)
        tiles.append(rows.reshape(-1, SIDE, SIDE, 3))
    return np.concatenate(tiles)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sheets", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(pack_sheets(arguments.sheets, arguments.folder), "written")  # noqa: T201  # the command's output
