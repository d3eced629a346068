"""Weights in the form that keras.applications are published in, which Keras reads and no longer offers to write."""

from pathlib import Path

import h5py
import keras
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group


def save_as_published(model: keras.Model, path: Path) -> Path:
    """Write a network's weights; return the file."""
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
    return path
