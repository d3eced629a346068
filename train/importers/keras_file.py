"""Whole models in files of Keras."""

from pathlib import Path

import keras

from train.importers.foreign import ImportModelError


def load_keras(path: Path) -> keras.Model:
    """Load a model from a `.keras` file, or from an `.h5` file of Keras 2 or 3.

    Code in the file is not run: models with Lambda layers or layers of one's own are refused.

    Raises:
        ImportModelError: It cannot be read, or holds weights alone.
    """
    try:
        model = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ImportModelError(
            f"{path}: expected a whole model of Keras, without layers of its own: {error}\n"
            "The weights alone of a network of keras.applications: python -m train imagenet --weights FILE"
        ) from error
    if not isinstance(model, keras.Model):
        raise ImportModelError(f"{path}: expected a model, found {type(model).__name__}")
    return model
