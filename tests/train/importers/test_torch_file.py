"""PyTorch checkpoints become the same networks in Keras, and no code in a checkpoint is run."""

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from train.importers.resnet import resnet_from_torch
from train.networks.build import HEAD
from train.weights import torch_file
from train.weights.checkpoints import read_checkpoint
from train.weights.safetensors import read_safetensors
from train.weights.tensors import WeightsFileError
from train.weights.torch_file import read_torch

RECORDED = Path(__file__).parents[1] / "recorded"
"""Written by `record_torch.py` in the same folder."""
FILES = ("torchvision_resnet18.pth", "torchvision_resnet50.safetensors", "cifar_resnet18.pth")
TOUCHED = "touched"


@pytest.mark.parametrize("name", FILES)
def test_class_scores_match_those_of_pytorch(name: str):
    path = RECORDED / name
    images = np.random.default_rng(0).normal(size=(2, 3, 45, 64)).astype(np.float32)  # as in record_torch.py
    recorded = np.load(RECORDED / "torch_answers.npz")[path.stem]

    model = resnet_from_torch(read_checkpoint(path))
    scores = keras.Model(model.input, model.get_layer(HEAD).output)(images.transpose(0, 2, 3, 1)).numpy()

    np.testing.assert_allclose(scores, recorded, atol=1e-4)
    assert np.ptp(recorded, axis=0).max() > 0.01, "the recorded scores must differ between images"


def test_an_imported_network_can_be_explained():
    from train.export.frozen_network import freeze_model  # noqa: PLC0415  # imports TensorFlow, which the other tests do not need
    from vision.card import InputSpec  # noqa: PLC0415

    model = resnet_from_torch(read_checkpoint(RECORDED / FILES[2]))
    spec = InputSpec(height=32, width=32, dtype="float32", mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7))
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    normalised = (images - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)

    network = freeze_model(model, spec)

    assert network.explains
    np.testing.assert_allclose(network.predict(images), model(normalised).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("fc.weight"), "there is no tensor fc.weight"),
        (lambda tensors: tensors.pop("layer3.1.bn2.weight"), "layer3.1.bn2"),
        (lambda tensors: tensors.update({"aux.weight": np.zeros(3)}), "there are also aux.weight"),
        (lambda tensors: tensors.update({"fc.bias": np.zeros(3)}), "the weights of fc do not match"),
        (
            lambda tensors: tensors.update({"layer1.0.conv2.weight": np.zeros((4, 2, 3, 3))}),
            "grouped convolutions are not supported",
        ),
    ],
)
def test_weights_of_another_network_are_refused(change: Callable[[dict], object], message: str):
    tensors = dict(read_checkpoint(RECORDED / FILES[0]))
    change(tensors)

    with pytest.raises(WeightsFileError, match=message):
        resnet_from_torch(tensors)


class Harmful:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def zip_checkpoint(pickled: bytes, **storages: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return file.getvalue()


def legacy_checkpoint(saved: bytes) -> bytes:
    header = (torch_file.LEGACY_MAGIC, torch_file.LEGACY_PROTOCOL, {"little_endian": True})
    return b"".join(pickle.dumps(part, protocol=2) for part in header) + saved + pickle.dumps([], protocol=2)


@pytest.mark.parametrize("pack", [zip_checkpoint, legacy_checkpoint])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, pack: Callable[[bytes], bytes]):
    path = tmp_path / "weights.pth"
    path.write_bytes(pack(pickle.dumps(OrderedDict(weight=Harmful(tmp_path / TOUCHED)), protocol=2)))

    with pytest.raises(WeightsFileError, match=r"it names \S+, which is not part of a tensor"):
        read_torch(path)

    assert not (tmp_path / TOUCHED).exists()


def test_pickle_itself_would_run_the_code(tmp_path: Path):
    pickle.loads(pickle.dumps(Harmful(tmp_path / TOUCHED), protocol=2))  # noqa: S301  # what the reader must not do

    assert (tmp_path / TOUCHED).exists()


def test_a_complete_pickled_network_is_refused(tmp_path: Path):
    path = tmp_path / "weights.pth"
    path.write_bytes(zip_checkpoint(b"\x80\x02ctorchvision.models.resnet\nResNet\n)\x81."))

    with pytest.raises(WeightsFileError, match=r"state_dict.*it names torchvision.models.resnet.ResNet"):
        read_torch(path)


def pickled_tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """A pickle of {"weight": tensor} as written by `torch.save`, with the numbers in the storage `0`."""

    def opcodes(value: object) -> bytes:
        return pickle.dumps(value, protocol=2)[2:-1]

    storage = b"(" + opcodes("storage") + b"ctorch\nFloatStorage\n" + opcodes("0") + opcodes("cpu") + opcodes(8) + b"tQ"
    arguments = b"(" + storage + b"".join(map(opcodes, (offset, shape, strides, False))) + b"t"
    return b"\x80\x02}" + opcodes("weight") + b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


def test_a_strided_view_of_a_storage_is_read(tmp_path: Path):
    path = tmp_path / "weights.pth"
    numbers = np.arange(8, dtype="<f4").tobytes()
    path.write_bytes(zip_checkpoint(pickled_tensor(1, (2, 3), (1, 2)), **{"0": numbers}))

    np.testing.assert_array_equal(read_torch(path)["weight"], [[1, 3, 5], [2, 4, 6]])


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (9,), (1,)),
        (6, (3,), (1,)),
        (0, (2, 2), (8, 1)),
        (0, (10**9, 10**9), (0, 0)),
        (-1, (2,), (1,)),
        (0, (2,), ()),
    ],
    ids=["too large", "beyond the end", "large stride", "huge shape", "negative offset", "missing strides"],
)
def test_a_view_beyond_its_storage_is_refused(tmp_path: Path, offset: int, shape: tuple, strides: tuple):
    path = tmp_path / "weights.pth"
    path.write_bytes(zip_checkpoint(pickled_tensor(offset, shape, strides), **{"0": bytes(32)}))

    with pytest.raises(WeightsFileError, match=r"weights\.pth: expected"):
        read_torch(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"text", zip_checkpoint(b""), zip_checkpoint(b"\x80\x02}."), legacy_checkpoint(b"\x80\x02].")],
    ids=["empty", "text", "empty pickle", "no tensors", "list"],
)
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)

    with pytest.raises(WeightsFileError, match=r"weights\.pth: expected"):
        read_torch(path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, fraction: float):
    content = (RECORDED / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * fraction)])

    with pytest.raises(WeightsFileError, match=f"{name}: expected") as refusal:
        read_checkpoint(path)

    assert "truncated" in str(refusal.value) or path.suffix == ".safetensors"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("a.onnx", "python -m train squeezenet"), ("a.h5", "python -m train import-keras"), ("a.pth", "is damaged")],
)
def test_a_file_of_another_format_is_refused_with_the_command_that_takes_it(tmp_path: Path, name: str, hint: str):
    path = tmp_path / name
    path.write_bytes(b"not a pickle")

    with pytest.raises(WeightsFileError, match=f"has another format or .*{hint}$"):
        read_checkpoint(path)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(WeightsFileError, match="No such file"):
        read_torch(tmp_path / "none.pth")


def safetensors_file(header: object, numbers: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def test_16_bit_floats_of_safetensors_are_read(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    values = np.array([1.5, -2.0], "<f4")
    halves = (values.view("<u4") >> 16).astype("<u2").tobytes()
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
        "b": {"dtype": "F16", "shape": [1, 2], "data_offsets": [4, 8]},
    }
    path.write_bytes(safetensors_file(header, halves + values.astype("<f2").tobytes()))

    tensors = read_safetensors(path)

    np.testing.assert_array_equal(tensors["a"], values)
    np.testing.assert_array_equal(tensors["b"], [values])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 20,
        safetensors_file([1], b""),
        safetensors_file({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(4)),
        safetensors_file({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors_file({"a": {"dtype": "F8", "shape": [8], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors_file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, bytes(8)),
    ],
    ids=["empty", "no header", "list", "too short", "wrong shape", "unknown dtype", "negative offset"],
)
def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)

    with pytest.raises(WeightsFileError, match="expected the safetensors format"):
        read_safetensors(path)
