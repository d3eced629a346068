"""CIFAR-10 in the publisher's archive is read, and anything else is refused."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.cifar10_archive import pack_sheets, write_archive
from train.config.datasets import Cifar10Data
from train.data.cifar10 import ARCHIVE, ROW_BYTES, Cifar10Error, load_cifar10, parse_batch
from train.data.examples import Example

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(1, 256, (10, 32, 32, 3), np.uint8)
TEST = RNG.integers(1, 256, (3, 32, 32, 3), np.uint8)
TRAIN_LABELS = np.arange(10, dtype=np.uint8)
TEST_LABELS = np.array([7, 0, 2], np.uint8)


def ignore(_name: str, _done: int, _total: int | None):
    pass


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path, (TRAIN, TRAIN_LABELS), (TEST, TEST_LABELS))


def write_sheet(path: Path, images: np.ndarray):
    """Write forty images a row; black ones fill the last row."""
    tiles = np.zeros((40, 32, 32, 3), np.uint8)
    tiles[: len(images)] = images
    sheet = tiles.reshape(1, 40, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(32, 40 * 32, 3)
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), sheet[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])


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


def test_images_are_read_in_the_archives_order(archive: Path):
    train, test, further_tests = load_cifar10(data(archive.parent), ignore)

    np.testing.assert_array_equal(pixels(train), TRAIN)
    np.testing.assert_array_equal(pixels(test), TEST)
    assert (classes(train), classes(test)) == (TRAIN_LABELS.tolist(), TEST_LABELS.tolist())
    assert list(further_tests) == ["jpeg"]


def test_the_jpeg_set_holds_the_test_images_as_jpeg(archive: Path):
    _, _, further_tests = load_cifar10(data(archive.parent), ignore)

    assert classes(further_tests["jpeg"]) == TEST_LABELS.tolist()
    assert all(item.data.startswith(b"\xff\xd8") for item in further_tests["jpeg"])


def test_contact_sheets_can_be_packed_into_the_archive(tmp_path: Path):
    train = np.concatenate([TRAIN, np.full((30, 32, 32, 3), 9, np.uint8)])
    write_sheet(tmp_path / "train/train_00.webp", train)
    write_sheet(tmp_path / "test_0.webp", TEST)
    np.savez(tmp_path / "labels.npz", train=np.arange(40, dtype=np.uint8) % 10, test=np.append(TEST_LABELS, [1, 1]))

    archive = pack_sheets(tmp_path, tmp_path / "packed")

    packed_train, packed_test, _ = load_cifar10(data(archive.parent, train), ignore)

    np.testing.assert_array_equal(pixels(packed_train), train)
    np.testing.assert_array_equal(pixels(packed_test), TEST)
    assert classes(packed_test) == TEST_LABELS.tolist()


@pytest.mark.parametrize("content", [b"", b"\0", bytes(ROW_BYTES + 1)])
def test_a_batch_of_incomplete_rows_is_refused(content: bytes):
    with pytest.raises(Cifar10Error, match=f"expected rows of {ROW_BYTES} bytes, found {len(content)} bytes"):
        parse_batch(content)


def test_other_pixels_than_the_configurations_are_refused(archive: Path):
    with pytest.raises(Cifar10Error, match="expected training images of SHA-256"):
        load_cifar10(data(archive.parent, TRAIN[::-1].copy()), ignore)


@pytest.mark.parametrize("kept_bytes", [0, 3000])
def test_a_damaged_archive_is_reported(archive: Path, kept_bytes: int):
    archive.write_bytes(archive.read_bytes()[:kept_bytes])

    with pytest.raises(Cifar10Error, match=f"{ARCHIVE} is damaged; delete it"):
        load_cifar10(data(archive.parent), ignore)
