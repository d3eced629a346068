"""CIFAR-10 as the publisher packs it, as contact sheets, or refused."""

import hashlib
import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.config.datasets import Cifar10Data
from train.data.cifar10 import ARCHIVE, JPEG_ARCHIVE, ROW_BYTES, Cifar10Error, load_cifar10, parse_batch
from train.data.examples import Example

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(1, 256, (10, 32, 32, 3), np.uint8)
TEST = RNG.integers(1, 256, (3, 32, 32, 3), np.uint8)
TRAIN_LABELS = np.arange(10, dtype=np.uint8)
TEST_LABELS = np.array([7, 0, 2], np.uint8)


def ignore(_name: str, _done: int, _total: int | None):
    pass


def rows(images: np.ndarray, labels: np.ndarray) -> bytes:
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([labels[:, None], planes], axis=1).tobytes()


def add(archive: tarfile.TarFile, name: str, content: bytes):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def write_archive(folder: Path):
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        for number in range(5):
            part = slice(2 * number, 2 * number + 2)
            name = f"cifar-10-batches-bin/data_batch_{number + 1}.bin"
            add(archive, name, rows(TRAIN[part], TRAIN_LABELS[part]))
        add(archive, "cifar-10-batches-bin/test_batch.bin", rows(TEST, TEST_LABELS))


def write_sheet(path: Path, images: np.ndarray):
    """Forty images a row; black ones fill the last."""
    tiles = np.zeros((40, 32, 32, 3), np.uint8)
    tiles[: len(images)] = images
    sheet = tiles.reshape(1, 40, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(32, 40 * 32, 3)
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), sheet[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])


def write_sheets(folder: Path, train: np.ndarray = TRAIN):
    full = np.concatenate([train, np.full((40 - len(train), 32, 32, 3), 9, np.uint8)])
    write_sheet(folder / "train/train_00.webp", full)
    write_sheet(folder / "test_0.webp", TEST)
    labels = np.arange(40, dtype=np.uint8) % 10
    np.savez(folder / "labels.npz", train=labels, test=np.append(TEST_LABELS, [1, 1]))
    return full


def data(folder: Path, train: np.ndarray = TRAIN) -> Cifar10Data:
    return Cifar10Data(
        kind="cifar10",
        directory=folder,
        mirrors=(),
        archive_sha256="0" * 64,
        train_sha256=hashlib.sha256(train.tobytes()).hexdigest(),
        validation=1,
        title="tiny",
        licence="none",
    )


def pixels(examples: list[Example]) -> np.ndarray:
    return np.stack(
        [cv2.imdecode(np.frombuffer(bytes(item.data), np.uint8), cv2.IMREAD_COLOR_RGB) for item in examples]
    )


def classes(examples: list[Example]) -> list[int]:
    return [item.classes[0] for item in examples]


def test_the_publishers_archive_is_read_in_order(tmp_path: Path):
    write_archive(tmp_path)
    train, test, further = load_cifar10(data(tmp_path), ignore)
    np.testing.assert_array_equal(pixels(train), TRAIN)
    np.testing.assert_array_equal(pixels(test), TEST)
    assert (classes(train), classes(test)) == (TRAIN_LABELS.tolist(), TEST_LABELS.tolist())
    assert classes(further["jpeg"]) == TEST_LABELS.tolist()
    assert all(bytes(item.data).startswith(b"\xff\xd8") for item in further["jpeg"])


def test_contact_sheets_are_the_same_images_without_what_fills_them(tmp_path: Path):
    full = write_sheets(tmp_path)
    train, test, _ = load_cifar10(data(tmp_path, full), ignore)
    np.testing.assert_array_equal(pixels(train), full)
    np.testing.assert_array_equal(pixels(test), TEST)
    assert classes(test) == TEST_LABELS.tolist()


def test_jpeg_files_that_lie_there_are_taken(tmp_path: Path):
    write_archive(tmp_path)
    content = cv2.imencode(".jpg", TEST[1])[1].tobytes()
    with tarfile.open(tmp_path / JPEG_ARCHIVE, "w:xz") as archive:
        add(archive, "test/00001_4.jpg", content)
    _, _, further = load_cifar10(data(tmp_path), ignore)
    assert [(bytes(item.data), item.classes) for item in further["jpeg"]] == [(content, (4,))]


@pytest.mark.parametrize("content", [b"", b"\0", bytes(ROW_BYTES + 1)])
def test_what_is_no_batch_is_refused(content: bytes):
    with pytest.raises(Cifar10Error, match="expected rows"):
        parse_batch(content)


def test_other_pixels_than_the_configurations_are_refused(tmp_path: Path):
    write_archive(tmp_path)
    with pytest.raises(Cifar10Error, match="expected training images of SHA-256"):
        load_cifar10(data(tmp_path, TRAIN[::-1].copy()), ignore)


def test_a_damaged_archive_is_told(tmp_path: Path):
    write_archive(tmp_path)
    path = tmp_path / ARCHIVE
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(Cifar10Error, match="damaged; delete it"):
        load_cifar10(data(tmp_path), ignore)


def test_sheets_that_are_missing_or_too_few_are_told(tmp_path: Path):
    full = write_sheets(tmp_path)
    np.savez(tmp_path / "labels.npz", train=np.zeros(41, np.uint8), test=TEST_LABELS)
    with pytest.raises(Cifar10Error, match="40 training images, but 41 labels"):
        load_cifar10(data(tmp_path, full), ignore)
    (tmp_path / "test_0.webp").unlink()
    np.savez(tmp_path / "labels.npz", train=np.zeros(40, np.uint8), test=TEST_LABELS)
    with pytest.raises(Cifar10Error, match="no test images"):
        load_cifar10(data(tmp_path, full), ignore)
    (tmp_path / "labels.npz").write_bytes(b"no arrays")
    with pytest.raises(Cifar10Error, match="expected the arrays"):
        load_cifar10(data(tmp_path, full), ignore)
