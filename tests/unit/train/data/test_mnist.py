"""idx files are read or refused."""

import gzip
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.config.datasets import MnistData
from train.config.training_config import load_config
from train.data.download import DownloadError
from train.data.mnist import MnistError, load_mnist, parse_images, parse_labels

SHARED = Path(__file__).parents[4] / "../shared"
IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4) for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_set(folder: Path, *, compressed: bool, counts: tuple[int, int] = (3, 3)) -> MnistData:
    rng = np.random.default_rng(0)
    contents = {
        "train-images-idx3-ubyte": idx(rng.integers(0, 256, (counts[0], 28, 28))),
        "train-labels-idx1-ubyte": idx(np.arange(counts[1])),
        "t10k-images-idx3-ubyte": idx(rng.integers(0, 256, (2, 28, 28))),
        "t10k-labels-idx1-ubyte": idx(np.array([7, 1])),
    }
    for name, content in contents.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return MnistData(
        kind="mnist", directory=folder, mirrors=(), sha256=checksums, validation=1, title="tiny", licence="none"
    )


def ignore(_name: str, _done: int, _total: int | None):
    pass


def test_images_and_labels_are_read_in_order():
    np.testing.assert_array_equal(parse_images(idx(IMAGES)), IMAGES)
    np.testing.assert_array_equal(parse_labels(idx(np.array([5, 0, 4]))), [5, 0, 4])


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03", idx(IMAGES)[:-1], idx(IMAGES) + b"x", idx(IMAGES[0])])
def test_an_incomplete_or_foreign_image_file_is_refused(content: bytes):
    with pytest.raises(MnistError, match="expected"):
        parse_images(content)


@pytest.mark.parametrize("compressed", [True, False])
def test_examples_are_the_images_of_the_files_as_png(tmp_path: Path, compressed: bool):  # noqa: FBT001  # a parameter
    data = write_set(tmp_path, compressed=compressed)
    train, test = load_mnist(data, ignore)

    assert [example.classes for example in train] == [(0,), (1,), (2,)]
    assert [example.classes for example in test] == [(7,), (1,)]

    name = "t10k-images-idx3-ubyte"
    content = gzip.decompress((tmp_path / f"{name}.gz").read_bytes()) if compressed else (tmp_path / name).read_bytes()
    decoded = cv2.imdecode(np.frombuffer(test[1].data, np.uint8), cv2.IMREAD_UNCHANGED)

    np.testing.assert_array_equal(decoded, parse_images(content)[1])


def test_a_changed_file_is_refused_with_advice(tmp_path: Path):
    data = write_set(tmp_path, compressed=False)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([1, 7])))

    with pytest.raises(MnistError, match=r"t10k-labels-idx1-ubyte: expected content of SHA-256 .*delete it"):
        load_mnist(data, ignore)


def test_a_damaged_compressed_file_is_refused_with_advice(tmp_path: Path):
    data = write_set(tmp_path, compressed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(MnistError, match=r"train-images-idx3-ubyte\.gz is damaged; delete it"):
        load_mnist(data, ignore)


def test_the_numbers_of_images_and_labels_must_agree(tmp_path: Path):
    with pytest.raises(MnistError, match="holds 3 images, train-labels-idx1-ubyte 2 labels"):
        load_mnist(write_set(tmp_path, compressed=False, counts=(3, 2)), ignore)


def test_a_missing_file_is_downloaded_from_the_mirrors(tmp_path: Path):
    data = write_set(tmp_path, compressed=True).model_copy(update={"mirrors": ("http://127.0.0.1:1/mnist/",)})
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()

    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:1/mnist/t10k-images-idx3-ubyte\.gz"):
        load_mnist(data, ignore)


def test_the_published_files_have_the_checksums_of_the_configuration():
    folder = SHARED / "data/mnist"
    if not folder.is_dir():
        pytest.skip("MNIST is not beside the repository")
    config = load_config(Path(__file__).parents[4] / "train/configs/digits.yaml")
    train, test = load_mnist(config.data.model_copy(update={"directory": folder}), ignore)

    assert (len(train), len(test)) == (60_000, 10_000)
    assert [example.classes[0] for example in train[:10]] == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
