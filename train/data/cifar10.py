"""CIFAR-10 (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009).

Read from the publisher's archive `cifar-10-binary.tar.gz`, see https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import hashlib
import tarfile
from collections.abc import Mapping
from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from train.config.datasets import Cifar10Data
from train.data.download import OnProgress, download
from train.data.examples import Example
from train.errors import TrainError

ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"
"""Folder of the batch files within the archive."""
TRAIN_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_BATCH = "test_batch.bin"
SIDE = 32
PLANES = 3
ROW_BYTES = 1 + PLANES * SIDE * SIDE
"""One label, then the red, the green and the blue plane."""
JPEG_QUALITY = 75
"""Quality of the re-encoded test images; chroma at half resolution, as OpenCV and libjpeg do by default."""

LabelledImages: TypeAlias = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
"""Images uint8[N, 32, 32, 3] RGB, and class numbers uint8[N]."""


class Cifar10Error(TrainError):
    """A file that does not hold what its name promises."""


def load_cifar10(
    data: Cifar10Data, on_progress: OnProgress
) -> tuple[list[Example], list[Example], Mapping[str, list[Example]]]:
    """Return the training images, the test images and further test sets by name; download the archive if it is missing.

    Images are PNG. The further test set `jpeg` holds the test images as JPEG, since most images sent to a service
    are JPEG.

    Raises:
        Cifar10Error: A file does not hold what its name promises.
        DownloadError: The archive could not be downloaded.
        OSError: A file cannot be read or written.
    """
    (train, train_labels), (test, test_labels) = _read_archive(data, on_progress)
    sha256 = hashlib.sha256(train.tobytes()).hexdigest()
    if sha256 != data.train_sha256:
        raise Cifar10Error(f"{data.directory}: expected training images of SHA-256 {data.train_sha256}, found {sha256}")
    further_tests = {"jpeg": _encode(test, test_labels, ".jpg")}
    return _encode(train, train_labels, ".png"), _encode(test, test_labels, ".png"), further_tests


def parse_batch(content: bytes) -> LabelledImages:
    """Parse a batch file.

    Raises:
        Cifar10Error: The content is empty or ends within a row.
    """
    if not content or len(content) % ROW_BYTES:
        raise Cifar10Error(f"expected rows of {ROW_BYTES} bytes, found {len(content)} bytes")
    rows = np.frombuffer(content, np.uint8).reshape(-1, ROW_BYTES)
    planes = rows[:, 1:].reshape(-1, PLANES, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), rows[:, 0]


def _read_archive(data: Cifar10Data, on_progress: OnProgress) -> tuple[LabelledImages, LabelledImages]:
    path = data.directory / ARCHIVE
    if not path.exists():
        data.directory.mkdir(parents=True, exist_ok=True)
        urls = [f"{mirror.rstrip('/')}/{ARCHIVE}" for mirror in data.mirrors]
        download(path, urls, data.archive_sha256, on_progress)
    try:
        with tarfile.open(path) as archive:
            batches = [_read_batch(archive, name) for name in TRAIN_BATCHES]
            test = _read_batch(archive, TEST_BATCH)
    except (tarfile.TarError, EOFError, KeyError) as error:
        raise Cifar10Error(f"{path} is damaged; delete it, and it is downloaded again ({error})") from error
    images, labels = zip(*batches, strict=True)
    return (np.concatenate(images), np.concatenate(labels)), test


def _read_batch(archive: tarfile.TarFile, name: str) -> LabelledImages:
    file = archive.extractfile(f"{FOLDER}/{name}")
    if file is None:
        raise Cifar10Error(f"{ARCHIVE}: {name} is not a file")
    return parse_batch(file.read())


def _encode(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], suffix: Literal[".png", ".jpg"]
) -> list[Example]:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return [
        Example(cv2.imencode(suffix, image[..., ::-1], options)[1].tobytes(), (int(label),), f"image {index}")
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
