"""The models that are committed in `serving_models`, for tests and benchmarks."""

from pathlib import Path

from tools.models_config import GOLDEN_INDEX
from tools.programs import ROOT


def newest_version(model: str) -> Path:
    """Return the folder of the newest version of a committed model; its name is the number."""
    versions = (path for path in (ROOT / "serving_models" / model).iterdir() if path.name.isdecimal())
    return max(versions, key=lambda path: int(path.name))


def golden_images(model: str) -> Path:
    """Return the folder of the golden images of a committed model."""
    return newest_version(model) / "assets.extra" / "golden"


def first_golden_image(model: str) -> Path:
    """Return the first golden image of a committed model, a PNG or a JPEG file."""
    return min(path for path in golden_images(model).iterdir() if path.name != GOLDEN_INDEX)
