"""Writes weights in the format in which keras.applications are published, which Keras reads but no longer writes."""

from pathlib import Path

import h5py
import keras
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group


def save_as_published(model: keras.Model, path: Path) -> Path:
    """Write the weights of a network, and return the path."""
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
    return path
