"""PyTorch checkpoints become the same networks in Keras, and no code in a checkpoint is run."""

import io
import json
import pickle
import re
import tracemalloc
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from train.importers.torch_networks import network_from_torch
from train.weights import torch_file, torch_pickle
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

    scores = network_from_torch(read_checkpoint(path))(images.transpose(0, 2, 3, 1)).numpy()

    np.testing.assert_allclose(scores, recorded, atol=1e-4)
    assert np.ptp(recorded, axis=0).max() > 0.01, "the recorded scores must differ between images"


def test_an_imported_network_can_be_explained():
    from train.export.frozen_network import freeze_model  # noqa: PLC0415  # imports TensorFlow, which the other tests do not need
    from vision.card import InputSpec  # noqa: PLC0415

    model = network_from_torch(read_checkpoint(RECORDED / FILES[2]))
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
        (lambda tensors: tensors.pop("conv1.weight"), "there is no tensor conv1.weight"),
        (lambda tensors: tensors.pop("layer3.1.bn2.weight"), "layer3.1.bn2"),
        (lambda tensors: tensors.update({"aux.weight": np.zeros(3)}), "there are also aux.weight"),
        (lambda tensors: tensors.update({"fc.weight": np.zeros((0, 8))}), r"fc.weight of shape \(0, 8\) is empty"),
        (lambda tensors: tensors.update({"fc.bias": np.zeros(3)}), "the weights of fc do not match"),
        (
            lambda tensors: tensors.update({"layer1.0.conv2.weight": np.zeros((4, 3, 3, 3))}),
            r"layer1.0.conv2.weight, \(4, 3, 3, 3\), does not take 4 channels",
        ),
    ],
)
def test_weights_of_another_network_are_refused(change: Callable[[dict], object], message: str):
    tensors = dict(read_checkpoint(RECORDED / FILES[0]))
    change(tensors)

    with pytest.raises(WeightsFileError, match=message):
        network_from_torch(tensors)


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

    with pytest.raises(WeightsFileError, match="it contains no tensors"):
        read_torch(path)

    assert not (tmp_path / TOUCHED).exists()


@pytest.mark.parametrize(
    "call", [b"R", b"\x81", b"b", b"a", b"\x93"], ids=["call", "new", "state", "append", "stack global"]
)
@pytest.mark.parametrize("name", [b"os\nsystem", b"builtins\neval", b"builtins\ngetattr", b"builtins\n__import__"])
def test_a_function_in_a_checkpoint_does_nothing(tmp_path: Path, name: bytes, call: bytes):
    path = tmp_path / "weights.pth"
    command = f"touch {tmp_path / TOUCHED}".encode()
    argument = b"X" + len(command).to_bytes(4, "little") + command
    values = b"X\x02\x00\x00\x00os" + argument if call == b"\x93" else b"c" + name + b"\n(" + argument + b"t"
    path.write_bytes(zip_checkpoint(b"\x80\x02" + values + call + b"."))

    with pytest.raises(WeightsFileError, match=r"weights\.pth: expected"):
        read_torch(path)

    assert not (tmp_path / TOUCHED).exists()


def changes(name: bytes) -> bytes:
    """A pickle that sets an attribute of a global, which would last longer than the reading."""
    return b"\x80\x02c" + name + b"\nN}X\x04\x00\x00\x00evilK\x01s\x86b."


@pytest.mark.parametrize("name", [*(f"{module}\n{name}" for module, name in torch_pickle.STAND_INS), "os\nsystem"])
def test_a_checkpoint_cannot_change_what_stands_in_for_globals(tmp_path: Path, name: str):
    path = tmp_path / "weights.pth"
    path.write_bytes(zip_checkpoint(changes(name.encode())))

    with pytest.raises(WeightsFileError, match=r"weights\.pth: expected"):
        read_torch(path)

    stand_ins = [*torch_pickle.STAND_INS.values(), torch_pickle.Placeholder]
    assert not any(hasattr(stand_in, "evil") for stand_in in stand_ins)


def test_a_checkpoint_that_names_too_many_globals_is_refused(tmp_path: Path):
    path = tmp_path / "weights.pth"
    names = b"".join(b"ca\nb%d\n0" % index for index in range(torch_pickle.MAX_GLOBALS + 1))
    path.write_bytes(zip_checkpoint(b"\x80\x02" + names + b"}."))

    with pytest.raises(WeightsFileError, match="names more than 1000 functions and classes"):
        read_torch(path)


def test_an_unknown_reference_is_quoted_without_being_written_out(tmp_path: Path):
    path = tmp_path / "weights.pth"
    pairs = b"K\x00q\x00" + b"0h\x00h\x00\x86q\x00" * 20  # a pair of the pair before: a million numbers as text
    path.write_bytes(zip_checkpoint(b"\x80\x02" + pairs + b"Q."))
    tracemalloc.start()

    with pytest.raises(WeightsFileError, match="it refers to"):
        read_torch(path)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1_000_000


MEMO_INDEX = 59_000_000


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b"}r" + MEMO_INDEX.to_bytes(4, "little"), "it numbers an object 59000000, more than it is long"),
        (b"}p%d\n" % MEMO_INDEX, "it numbers an object 59000000, more than it is long"),
        (b"\x8e" + (10**9).to_bytes(8, "little") + b"abc", "is truncated"),
        (b"\x96" + (10**9).to_bytes(8, "little") + b"abc", "is truncated"),
        (b"\x95" + (3).to_bytes(8, "little") + b"}r\0\0\0\0", "frames of its pickle overlap or divide an opcode"),
        (b"\x95" + (20).to_bytes(8, "little") + b"\x95" + bytes(8), "frames of its pickle overlap or divide an opcode"),
    ],
    ids=["binary memo", "text memo", "bytes", "bytearray", "divided opcode", "nested frames"],
)
@pytest.mark.parametrize("pack", [zip_checkpoint, legacy_checkpoint])
def test_a_pickle_that_would_fill_the_memory_is_refused(
    tmp_path: Path, pack: Callable[[bytes], bytes], opcodes: bytes, message: str
):
    path = tmp_path / "weights.pth"
    path.write_bytes(pack(b"\x80\x04" + opcodes + b"."))
    tracemalloc.start()

    with pytest.raises(WeightsFileError, match=message):
        read_torch(path)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1_000_000


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_are_read(tmp_path: Path, protocol: int):
    path = tmp_path / "weights.pth"
    path.write_bytes(zip_checkpoint(pickle.dumps({"state": [{"name": bytes(100_000)}] * 300}, protocol)))

    with pytest.raises(WeightsFileError, match="it contains no tensors"):
        read_torch(path)


def pickled_tensors(count: int, size: int) -> bytes:
    """A pickle of a dictionary of tensors that all are views of the first numbers of the storage `0`."""
    one = pickled_tensor(0, (size,), (1,))[3:-2]  # the items of the dictionary, without the dictionary
    items = (one.replace(b"weight", b"w%05d" % index) + b"s" for index in range(count))
    return b"\x80\x02}" + b"".join(items) + b"."


def test_a_storage_of_many_tensors_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "weights.pth"
    numbers = np.arange(8192, dtype="<f4")
    path.write_bytes(zip_checkpoint(pickled_tensors(100, size=3), **{"0": numbers.tobytes()}))
    entries: list[str] = []
    read = zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda archive, name: entries.append(name) or read(archive, name))

    tensors = read_torch(path)

    assert entries.count("archive/data/0") == 1
    assert list(tensors) == [f"w{index:05d}" for index in range(100)]
    assert all((array == numbers[:3]).all() for array in tensors.values())


def test_tensors_that_are_larger_than_the_file_are_refused(tmp_path: Path):
    path = tmp_path / "weights.pth"
    numbers = np.ones(8192, "<f4").tobytes()
    path.write_bytes(zip_checkpoint(pickled_tensors(torch_file.MAX_EXPANSION + 1, size=8192), **{"0": numbers}))

    with pytest.raises(WeightsFileError, match="its tensors are larger than the file"):
        read_torch(path)


def test_a_compressed_file_is_refused(tmp_path: Path):
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(1_000_000))

    with pytest.raises(WeightsFileError, match="it is compressed"):
        read_torch(path)


def test_dictionaries_that_contain_each_other_are_searched_once(tmp_path: Path):
    path = tmp_path / "weights.pth"
    saved: dict[str, object] = {}
    for _ in range(50):
        saved = {f"key{index}": saved for index in range(50)}
    saved["itself"] = saved
    path.write_bytes(zip_checkpoint(pickle.dumps(saved, protocol=2)))

    with pytest.raises(WeightsFileError, match="it contains no tensors"):
        read_torch(path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [("constants.pkl", "TorchScript program; save .*torch.jit.load"), ("archive_format", "torch.export.load")],
)
def test_a_program_is_refused_with_what_to_save(tmp_path: Path, entry: str, message: str):
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr(f"archive/{entry}", b"")

    with pytest.raises(WeightsFileError, match=message):
        read_torch(path)


def test_a_whole_network_of_the_earlier_format_is_refused(tmp_path: Path):
    path = tmp_path / "weights.pth"
    network = b"(X\x06\x00\x00\x00modulectorchvision.models.resnet\nResNet\nX\x00\x00\x00\x00X\x00\x00\x00\x00tQ)\x81"
    path.write_bytes(legacy_checkpoint(b"\x80\x02" + network + b"."))

    with pytest.raises(WeightsFileError, match=r"a whole pickled network, torchvision\.models\.resnet\.ResNet"):
        read_torch(path)


def test_pickle_itself_would_run_the_code(tmp_path: Path):
    pickle.loads(pickle.dumps(Harmful(tmp_path / TOUCHED), protocol=2))  # noqa: S301  # what the reader must not do

    assert (tmp_path / TOUCHED).exists()


def test_a_complete_pickled_network_is_refused(tmp_path: Path):
    path = tmp_path / "weights.pth"
    path.write_bytes(zip_checkpoint(b"\x80\x02ctorchvision.models.resnet\nResNet\n)\x81."))

    with pytest.raises(WeightsFileError, match=r"state_dict.*whole pickled network, torchvision.models.resnet.ResNet"):
        read_torch(path)


class Epoch(NamedTuple):
    state_dict: dict[str, int]


@pytest.mark.parametrize("saved", [Namespace(state_dict={"a": 1}), SimpleNamespace(a=1), Epoch({"a": 1})])
def test_an_object_around_the_weights_is_not_called_a_network(tmp_path: Path, saved: object):
    path = tmp_path / "weights.pth"
    path.write_bytes(zip_checkpoint(pickle.dumps(saved, protocol=2)))
    name = f"{type(saved).__module__}.{type(saved).__qualname__}"

    with pytest.raises(WeightsFileError, match=f"an object of the class {re.escape(name)}, .* its state_dict, alone$"):
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


@pytest.mark.parametrize("saved", [{"a": 1}, {"fc.weight": np.zeros((2, 3))}, [0.5]], ids=["number", "numpy", "list"])
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_a_pickle_of_another_program_is_not_called_truncated(tmp_path: Path, saved: object, protocol: int):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(saved, protocol))

    with pytest.raises(WeightsFileError, match=r"a pickle of another program; accepted are .* \.safetensors$"):
        read_torch(path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, fraction: float):
    content = (RECORDED / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * fraction)])

    with pytest.raises(WeightsFileError, match=f"{name}: expected") as refusal:
        read_checkpoint(path)

    assert "truncated" in str(refusal.value)


def test_a_truncated_header_of_safetensors_is_refused(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    path.write_bytes((RECORDED / FILES[1]).read_bytes()[:100])

    with pytest.raises(WeightsFileError, match="the file is truncated"):
        read_checkpoint(path)


def test_safetensors_are_read_by_any_name(tmp_path: Path):
    path = tmp_path / "renamed.pth"
    path.write_bytes((RECORDED / FILES[1]).read_bytes())

    tensors = read_checkpoint(path)

    assert tensors.keys() == read_checkpoint(RECORDED / FILES[1]).keys()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("a.onnx", "python -m train import-onnx"), ("a.h5", "python -m train import-keras"), ("a.pth", "is damaged")],
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
