"""Load complete models from Keras files."""

from pathlib import Path

import keras

from train.importers.foreign import ImportModelError


def load_keras(path: Path) -> keras.Model:
    """Load a model from a `.keras` file, or from an `.h5` file of Keras 2 or 3.

    Models with Lambda layers or custom layers are refused, because loading them would run code from the file.

    Raises:
        OSError: The file is missing or cannot be read.
        ImportModelError: It is damaged, or contains only weights.
    """
    path.open("rb").close()
    try:
        model = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ImportModelError(
            f"{path}: expected a complete Keras model without custom layers: {error}\n"
            "For a file with only the weights of a keras.applications network use: python -m train imagenet --weights"
            " FILE\nFor a PyTorch checkpoint use: python -m train import-torch"
        ) from error
    if not isinstance(model, keras.Model):
        raise ImportModelError(
            f"{path}: the file contains a {type(model).__name__}; expected a functional or sequential model"
        )
    return model
