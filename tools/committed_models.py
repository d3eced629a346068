"""The models that are committed in `serving_models`, for tests and benchmarks."""

from pathlib import Path

from tools.models_config import COMMITTED_MODELS, list_golden_images


def newest_version(model: str, models: Path = COMMITTED_MODELS) -> Path:
    """Return the folder of the newest version of a model, by default a committed one; its name is the number."""
    versions = (path for path in (models / model).iterdir() if path.name.isdecimal())
    return max(versions, key=lambda path: int(path.name))


def golden_images(model: str) -> Path:
    """Return the folder of the golden images of a committed model."""
    return newest_version(model) / "assets.extra" / "golden"


def first_golden_image(model: str) -> Path:
    """Return the first golden image of a committed model, a PNG or a JPEG file."""
    return list_golden_images(newest_version(model))[0]
