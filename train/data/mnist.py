"""MNIST in its original idx files (LeCun, Cortes, Burges: http://yann.lecun.com/exdb/mnist/)."""

import gzip
import hashlib
import struct
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from train.config.datasets import MnistData, MnistFile
from train.data.download import OnProgress, download, read_content
from train.data.examples import Example
from train.errors import TrainError

IMAGES_MAGIC = 2051
LABELS_MAGIC = 2049


class MnistError(TrainError):
    """A file that does not hold what its name promises."""


def load_mnist(data: MnistData, on_progress: OnProgress) -> tuple[list[Example], list[Example]]:
    """Return the training and the test images as PNG, in the order of the files.

    Files that are missing in `data.directory` are downloaded to it first.

    Raises:
        MnistError: A file has another checksum than the configuration states, or is not an idx file.
        DownloadError: A missing file could not be downloaded.
        OSError: A file cannot be read or written.
    """
    train = _read_examples(data, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", on_progress)
    test = _read_examples(data, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", on_progress)
    return train, test


def parse_images(content: bytes) -> npt.NDArray[np.uint8]:
    """Parse an idx3 file into uint8[N, rows, columns]; 0 is the background, 255 the ink.

    Raises:
        MnistError: The content is not an idx3 file, or is incomplete.
    """
    count, rows, columns = _parse_header(content, IMAGES_MAGIC, dimensions=3)
    return _parse_body(content, (count, rows, columns))


def parse_labels(content: bytes) -> npt.NDArray[np.uint8]:
    """Parse an idx1 file into uint8[N].

    Raises:
        MnistError: The content is not an idx1 file, or is incomplete.
    """
    (count,) = _parse_header(content, LABELS_MAGIC, dimensions=1)
    return _parse_body(content, (count,))


def _read_examples(
    data: MnistData, images_file: MnistFile, labels_file: MnistFile, on_progress: OnProgress
) -> list[Example]:
    images = parse_images(_read_file(data, images_file, on_progress))
    labels = parse_labels(_read_file(data, labels_file, on_progress))
    if len(images) != len(labels):
        raise MnistError(f"{images_file} holds {len(images)} images, {labels_file} {len(labels)} labels")
    return [
        Example(cv2.imencode(".png", image)[1].tobytes(), (int(label),), f"{images_file} {index}")
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def _read_file(data: MnistData, name: MnistFile, on_progress: OnProgress) -> bytes:
    plain, compressed = data.directory / name, data.directory / f"{name}.gz"
    path = plain if plain.exists() else compressed
    if not path.exists():
        data.directory.mkdir(parents=True, exist_ok=True)
        urls = [f"{mirror.rstrip('/')}/{compressed.name}" for mirror in data.mirrors]
        download(path, urls, data.sha256[name], on_progress)
    return _read_checked(path, data.sha256[name])


def _read_checked(path: Path, sha256: str) -> bytes:
    advice = "delete it, and it is downloaded again"
    try:
        content = read_content(path)
    except gzip.BadGzipFile as error:
        raise MnistError(f"{path} is damaged; {advice} ({error})") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise MnistError(f"{path}: expected content of SHA-256 {sha256}, found {digest}; {advice}")
    return content


def _parse_header(content: bytes, magic: int, dimensions: int) -> tuple[int, ...]:
    layout = f">{1 + dimensions}I"
    if len(content) < struct.calcsize(layout) or int.from_bytes(content[:4]) != magic:
        raise MnistError(f"expected an idx file that begins with the number {magic}, found {content[:4]!r}")
    return struct.unpack_from(layout, content)[1:]


def _parse_body(content: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    offset = 4 + 4 * len(shape)
    size = int(np.prod(shape))
    if len(content) - offset != size:
        raise MnistError(f"expected {size} bytes after the header, found {len(content) - offset}")
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)
