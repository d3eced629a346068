"""Read PyTorch weights in either of the two formats in which they are published."""

from pathlib import Path

from train.weights.safetensors import is_safetensors, read_safetensors
from train.weights.state_dict import Checkpoint, to_checkpoint
from train.weights.torch_file import read_torch


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a PyTorch checkpoint, in the safetensors format by its name or content, else in PyTorch's own.

    Raises:
        WeightsFileError: The file cannot be read, or has another format.
    """
    if path.suffix == ".safetensors" or is_safetensors(path):
        return to_checkpoint(read_safetensors(path), path)
    return read_torch(path)
