"""CIFAR-10 (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009).

Two forms are read: the publisher's archive `cifar-10-binary.tar.gz`
(https://www.cs.toronto.edu/~kriz/cifar.html), and contact sheets: `train/train_00.webp` and further ones,
1,000 images each in rows of 40, `test_*.webp` likewise, and `labels.npz`. What counts is the pixels, so both
are held to the same checksum.
"""

import hashlib
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from train.config.datasets import Cifar10Data
from train.data.download import OnProgress, download
from train.data.examples import Example
from train.errors import TrainError

ARCHIVE = "cifar-10-binary.tar.gz"
SIDE = 32
PLANES = 3
ROW_BYTES = 1 + PLANES * SIDE * SIDE
SHEET_COLUMNS = 40
JPEG_QUALITY = 75
"""Of the re-encoded test images; chroma at half resolution, as cv2 and libjpeg do by default."""
JPEG_ARCHIVE = "test_jpeg.tar.xz"
"""Re-encoded test images from elsewhere, `test/NNNNN_L.jpg` with L the class; taken where it lies with the data."""


class Cifar10Error(TrainError):
    """A file that is not what its name says."""


def load_cifar10(
    data: Cifar10Data, on_progress: OnProgress
) -> tuple[list[Example], list[Example], Mapping[str, list[Example]]]:
    """Return the training images and the test images as PNG, and further test sets by name.

    A further set, `jpeg`, is the test images as JPEG: what is sent to a service usually is one.

    Raises:
        Cifar10Error: A file is not what its name says.
        DownloadError: The archive could not be downloaded.
        OSError: A file cannot be read or written.
    """
    if (data.directory / "labels.npz").exists():
        (train, train_labels), (test, test_labels) = _sheets(data.directory)
    else:
        (train, train_labels), (test, test_labels) = _archive(data, on_progress)
    found = hashlib.sha256(train.tobytes()).hexdigest()
    if found != data.train_sha256:
        raise Cifar10Error(f"{data.directory}: expected training images of SHA-256 {data.train_sha256}, found {found}")
    jpeg = data.directory / JPEG_ARCHIVE
    further = list(_jpeg_examples(jpeg)) if jpeg.exists() else _encoded(test, test_labels, ".jpg")
    return _encoded(train, train_labels, ".png"), _encoded(test, test_labels, ".png"), {"jpeg": further}


def parse_batch(content: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read a batch file into images uint8[N, 32, 32, 3] RGB and class numbers uint8[N].

    Raises:
        Cifar10Error: It is no whole number of rows.
    """
    if not content or len(content) % ROW_BYTES:
        raise Cifar10Error(f"expected rows of {ROW_BYTES} bytes, found {len(content)} bytes")
    rows = np.frombuffer(content, np.uint8).reshape(-1, ROW_BYTES)
    planes = rows[:, 1:].reshape(-1, PLANES, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), rows[:, 0]


_Labelled = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def _archive(data: Cifar10Data, on_progress: OnProgress) -> tuple[_Labelled, _Labelled]:
    path = data.directory / ARCHIVE
    if not path.exists():
        data.directory.mkdir(parents=True, exist_ok=True)
        urls = [f"{mirror.rstrip('/')}/{ARCHIVE}" for mirror in data.mirrors]
        download(path, urls, data.archive_sha256, on_progress)
    try:
        with tarfile.open(path) as archive:
            train = [_member(archive, f"data_batch_{number}.bin") for number in range(1, 6)]
            test = _member(archive, "test_batch.bin")
    except (tarfile.TarError, EOFError, KeyError) as error:
        raise Cifar10Error(f"{path} is damaged; delete it to have it downloaded again ({error})") from error
    images, labels = zip(*train, strict=True)
    return (np.concatenate(images), np.concatenate(labels)), test


def _member(archive: tarfile.TarFile, name: str) -> _Labelled:
    file = archive.extractfile(f"cifar-10-batches-bin/{name}")
    if file is None:
        raise Cifar10Error(f"{ARCHIVE}: {name} is no file")
    return parse_batch(file.read())


def _sheets(directory: Path) -> tuple[_Labelled, _Labelled]:
    try:
        with np.load(directory / "labels.npz") as labels:
            train_labels, test_labels = labels["train"], labels["test"]
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise Cifar10Error(f"{directory / 'labels.npz'}: expected the arrays `train` and `test` ({error})") from error
    train = _tiles(sorted((directory / "train").glob("train_*.webp")))
    test = _tiles(sorted(directory.glob("test_*.webp")))
    for name, images, known in (("train", train, train_labels), ("test", test, test_labels)):
        if not len(images):
            raise Cifar10Error(f"{directory} holds labels.npz, but no {name} images beside it")
        if name == "train" and len(images) != len(known):
            raise Cifar10Error(f"{directory}: {len(images)} training images, but {len(known)} labels")
    # Black tiles fill the last row; of the test images only the first may be there.
    test = test[: _last_not_black(test) + 1]
    return (train, train_labels), (test, test_labels[: len(test)])


def _tiles(paths: Sequence[Path]) -> npt.NDArray[np.uint8]:
    """Cut sheets into uint8[N, 32, 32, 3] RGB."""
    parts = [np.empty((0, SIDE, SIDE, PLANES), np.uint8)]
    for path in paths:
        sheet = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
        if sheet is None or sheet.shape[1] != SHEET_COLUMNS * SIDE or sheet.shape[0] % SIDE:
            raise Cifar10Error(f"{path}: expected a picture {SHEET_COLUMNS * SIDE} wide, of whole rows of images")
        tiles = sheet.reshape(-1, SIDE, SHEET_COLUMNS, SIDE, PLANES).transpose(0, 2, 1, 3, 4)
        parts.append(tiles.reshape(-1, SIDE, SIDE, PLANES).astype(np.uint8, copy=False))
    return np.concatenate(parts)


def _last_not_black(images: npt.NDArray[np.uint8]) -> int:
    return int(np.flatnonzero(images.any(axis=(1, 2, 3)))[-1])


def _encoded(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], suffix: Literal[".png", ".jpg"]
) -> list[Example]:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return [
        Example(cv2.imencode(suffix, image[..., ::-1], options)[1].tobytes(), (int(label),), f"image {index}")
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def _jpeg_examples(path: Path) -> Iterator[Example]:
    try:
        with tarfile.open(path) as archive:
            for member in sorted(archive.getmembers(), key=lambda member: member.name):
                file = archive.extractfile(member)
                if file is not None:
                    class_id = int(Path(member.name).stem.rpartition("_")[2])
                    yield Example(file.read(), (class_id,), member.name)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise Cifar10Error(f"{path}: expected JPEG files named INDEX_CLASS.jpg ({error})") from error
