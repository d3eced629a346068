"""Golden images of a version, which the page offers as samples."""

import json
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import VersionNotFoundError
from gateway.health.readiness import GOLDEN
from vision.decode import sniff

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""Limit on the list of golden images, which holds the scores of each."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A golden image.

    Attributes:
        path: The image file.
        label: Its class.
    """

    path: Path
    label: str


def list_samples(version_dir: Path, *, max_samples: int, max_bytes: int) -> list[Sample]:
    """Return golden images of a version, at most one for each class; none if its folder is not visible from here.

    Args:
        version_dir: Folder of the version, such as `serving_models/digits/2`.
        max_samples: Maximum number.
        max_bytes: Maximum size of a file; larger ones are left out.
    """
    folder = (version_dir / GOLDEN).parent
    samples: dict[str, Sample] = {}
    for name, label in _read_list(version_dir / GOLDEN):
        if len(samples) == max_samples:
            break
        path = folder / name
        # The list must not lead out of its folder.
        if label not in samples and path.name == name and _is_small_file(path, max_bytes):
            samples[label] = Sample(path, label)
    return list(samples.values())


def read_sample(sample: Sample) -> tuple[bytes, str]:
    """Return an image file and its media type.

    Raises:
        VersionNotFoundError: It is gone, or is not an image.
    """
    try:
        content = sample.path.read_bytes()
    except OSError:
        content = b""
    image_format = sniff(content)
    if image_format is None:
        raise VersionNotFoundError("The sample is no longer there. List the samples again.")
    return content, f"image/{image_format.value}"


def _read_list(path: Path) -> list[tuple[str, str]]:
    """Return the file name and the class of each golden image; none if the list is missing or damaged."""
    if not _is_small_file(path, MAX_DOCUMENT_BYTES):
        return []
    try:
        images = json.loads(path.read_bytes())["images"]
        return [(str(image["file"]), str(image["class"])) for image in images]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _is_small_file(path: Path, max_bytes: int) -> bool:
    try:
        return path.is_file() and path.stat().st_size <= max_bytes
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return False
