"""Read PyTorch weights in either of the two formats in which they are published."""

from pathlib import Path

from train.weights.safetensors import read_safetensors
from train.weights.tensors import Tensors
from train.weights.torch_file import read_torch


def read_checkpoint(path: Path) -> Tensors:
    """Read a PyTorch checkpoint, `.safetensors` or any other name for PyTorch's own format.

    Raises:
        WeightsFileError: The file cannot be read, or has another format.
    """
    return read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
