"""Files of initial weights, checked before they are read."""

import hashlib
from pathlib import Path

from train.errors import TrainError


class WeightsError(TrainError):
    """Weights that are unavailable, or belong to another network."""


def check_file(path: Path, network: str, sha256: str | None) -> None:
    """Check that a file of weights exists and has the expected content.

    Args:
        path: The file.
        network: Name of the network, for messages.
        sha256: SHA-256 of the content; None for any.

    Raises:
        WeightsError: The file is missing or has another SHA-256.
        OSError: The file cannot be read.
    """
    if not path.exists():
        raise WeightsError(f"{path} does not exist; expected a file with weights of {network}")
    if sha256 is None:
        return
    digest = hash_file(path)
    if digest != sha256:
        raise WeightsError(
            f"{path}: expected the SHA-256 {sha256}, found {digest}; the file is damaged or another one. Download it"
            " again, or correct model.weights_sha256."
        )


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
