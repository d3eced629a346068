"""Load complete models from Keras files."""

import json
import shutil
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import keras

from train.importers.cards import ImportModelError
from train.importers.keras2_config import convert_config
from vision.card import InputSpec

Tensor = Any

FILE_KINDS = {".h5", ".hdf5", ".keras"}


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A model from a file of Keras.

    Attributes:
        network: The model, in which models within it are replaced by their layers, if possible, so that what they end
            in can be seen.
        original: The model as Keras reads it, which `network` is compared with.
        framework: Name and version of the Keras that computes `original`; empty for a file of Keras 2, which is
            converted here, so that only Keras 2 can tell what it returns.
    """

    network: keras.Model
    original: keras.Model
    framework: str


def load_keras(path: Path, spec: InputSpec) -> KerasFile:
    """Load a model from a `.keras` file, or from an `.h5` file of Keras 2 or 3.

    Models with Lambda layers or custom layers are refused, because loading them would run code from the file.

    Args:
        path: The file.
        spec: The input of the model, for one that was saved without the shape of its input.

    Raises:
        OSError: The file is missing or cannot be read.
        ImportModelError: It is damaged, or contains only weights.
    """
    path.open("rb").close()
    _check_kind(path)
    is_of_keras2 = False
    try:
        is_of_keras2 = _is_of_keras2(path)
        model = _load_keras2(path) if is_of_keras2 else keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise ImportModelError(
            f"{path}: expected a complete Keras model without custom layers: {error}\n"
            "For a file with only the weights of a keras.applications network use: python -m train imagenet --weights"
            " FILE\nFor a PyTorch checkpoint use: python -m train import-torch"
        ) from error
    if not isinstance(model, keras.Model):
        raise ImportModelError(
            f"{path}: the file contains a {type(model).__name__}; expected a functional or sequential model"
        )
    if isinstance(model, keras.Sequential) and not getattr(model, "inputs", None):
        model.build((None, *spec.shape))
    if (
        isinstance(model, keras.Sequential) and model.inputs[0].shape[0] is not None
    ):  # a call with so many images built it
        image = keras.Input(model.inputs[0].shape[1:], dtype=model.inputs[0].dtype)
        model = keras.Sequential([image, *model.layers])
    if not getattr(model, "inputs", None):
        raise ImportModelError(f"{path}: the model has a custom class; export it with model.export and import that")
    return KerasFile(flatten(model), model, "" if is_of_keras2 else f"Keras {keras.__version__}")


def _check_kind(path: Path) -> None:
    """Refuse files whose name promises another format, or whose content does not keep the promise."""
    if path.suffix not in FILE_KINDS:
        raise ImportModelError(
            f"{path}: expected a .keras or .h5 file; for PyTorch use: python -m train import-torch, for ONNX"
            " import-onnx"
        )
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise ImportModelError(
            f"{path}: expected a ZIP archive, as Keras writes; the file is truncated, damaged or another"
        )


def _is_of_keras2(path: Path) -> bool:
    """Return whether a file is in HDF5 and contains a model that Keras 2, or tf_keras, saved."""
    if path.suffix == ".keras" or not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        version = file.attrs.get("keras_version", "2.")  # bytes if Keras wrote it that was not yet part of TensorFlow
        text = version.decode() if isinstance(version, bytes) else str(version)
        return "model_config" in file.attrs and text.startswith("2.")


def _load_keras2(path: Path) -> keras.Model:
    """Load a copy of a file whose configuration is that of Keras 3."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "model.h5")
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            config = convert_config(json.loads(file.attrs["model_config"]))
            file.attrs["model_config"] = json.dumps(config)
        return keras.models.load_model(copy, compile=False)


def flatten(model: keras.Model) -> keras.Model:
    """Return a model with the same weights, in which models within models are replaced by their layers."""
    if not any(isinstance(layer, keras.Model) for layer in model.layers):
        return model
    image = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype)
    with suppress(ValueError):  # layers of the same name, or calls that cannot be repeated one by one
        return keras.Model(image, _apply(model, image))
    return model


def _apply(layer: keras.layers.Layer, *arguments: Tensor, **options: Any) -> Tensor:
    """Call a layer or, if it is a model, its layers."""
    if isinstance(layer, keras.Sequential):
        (x,) = arguments
        for inner in layer.layers:
            x = _apply(inner, x)
        return x
    if not isinstance(layer, keras.Model):
        return layer(*arguments, **options)
    results = layer._run_through_graph(list(arguments), lambda inner: partial(_apply, inner))  # noqa: SLF001  # no public way to repeat the calls of a model
    return keras.tree.flatten(results)[0]
