"""Build ConvNeXt from PyTorch weights, by the names of torchvision and of timm.

Depth and width follow from the tensors. Sources: Liu et al., https://arxiv.org/abs/2201.03545;
https://github.com/pytorch/vision, torchvision/models/convnext.py;
https://github.com/huggingface/pytorch-image-models, timm/models/convnext.py.
"""

from collections.abc import Mapping
from typing import NamedTuple

import keras
from keras import layers

from train.importers.architectures.heads import fit_head
from train.importers.architectures.torch_builder import TorchBuilder
from train.networks.build import POOL
from train.weights.tensors import Tensors, WeightsFileError

NETWORK = "a ConvNeXt"
EPSILON = 1e-6
STAGES = 4
PATCH = 4
"""Side of the squares that the first convolution takes; a network with another stem has the same names."""
NAMES: Mapping[tuple[tuple[int, ...], int], str] = {
    ((3, 3, 9, 3), 96): "convnext_tiny",
    ((3, 3, 27, 3), 96): "convnext_small",
    ((3, 3, 27, 3), 128): "convnext_base",
    ((3, 3, 27, 3), 192): "convnext_large",
}
"""Names of the networks by the numbers of blocks of their stages and the filters of the first one."""


class _Block(NamedTuple):
    """PyTorch's names of the parts of a block; `scale` is a tensor, the others are layers."""

    depthwise: str
    norm: str
    expand: str
    project: str
    scale: str


class _Layout(NamedTuple):
    """PyTorch's names of layers, with the number of the stage or what it determines."""

    stem: tuple[str, str]
    downsample: tuple[str, str]
    block: _Block
    head: tuple[str, str]


LAYOUTS = (
    _Layout(  # torchvision
        ("features.0.0", "features.0.1"),
        ("features.{even}.0", "features.{even}.1"),
        _Block(
            *(
                f"features.{{odd}}.{{block}}.{part}"
                for part in ("block.0", "block.2", "block.3", "block.5", "layer_scale")
            )
        ),
        ("classifier.0", "classifier.2"),
    ),
    _Layout(  # timm
        ("stem.0", "stem.1"),
        ("stages.{stage}.downsample.0", "stages.{stage}.downsample.1"),
        _Block(
            *(
                f"stages.{{stage}}.blocks.{{block}}.{part}"
                for part in ("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma")
            )
        ),
        ("head.norm", "head.fc"),
    ),
)


def convnext_from_torch(tensors: Tensors) -> keras.Model:
    """Build the ConvNeXt that the tensors belong to, with their values as weights.

    Args:
        tensors: Weights by PyTorch's names.

    Returns:
        A model from float32[N, H, W, C], normalised as in training, to float32[N, K] class scores. The layers `POOL`
        and `HEAD` have a normalisation between them.

    Raises:
        WeightsFileError: The tensors belong to another kind of network.
    """
    layout = next((layout for layout in LAYOUTS if f"{layout.stem[0]}.weight" in tensors), LAYOUTS[0])
    head_norm, head = layout.head
    tensors = fit_head(tensors, head, body=(head_norm,))
    stages = [_blocks(tensors, layout, stage) for stage in range(STAGES)]
    builder = TorchBuilder(_merge_scales(tensors, stages), NETWORK, EPSILON)
    stem, stem_norm = layout.stem
    image = builder.image(stem)
    filters, _, size, _ = builder.kernel(stem).shape
    if size != PATCH:
        raise WeightsFileError(f"expected the weights of {NETWORK} whose first kernel has the side {PATCH}, not {size}")
    x = builder.layernorm(builder.conv(image, stem, strides=PATCH), stem_norm)
    for stage, blocks in enumerate(stages):
        if stage:
            norm, conv = (name.format(stage=stage, even=2 * stage) for name in layout.downsample)
            x = builder.conv(builder.layernorm(x, norm), conv, strides=2)
        for block in blocks:
            x = _build_block(builder, x, block)
    average = builder.layernorm(layers.GlobalAveragePooling2D(name=POOL)(x), head_norm)
    name = NAMES.get((tuple(map(len, stages)), filters), "convnext")
    return builder.classifier(image, average, head, name)


def _blocks(tensors: Tensors, layout: _Layout, stage: int) -> list[_Block]:
    blocks: list[_Block] = []
    while True:
        numbers = {"stage": stage, "odd": 2 * stage + 1, "block": len(blocks)}
        block = _Block(*(name.format(**numbers) for name in layout.block))
        if f"{block.depthwise}.weight" not in tensors:
            return blocks
        blocks.append(block)


def _build_block(builder: TorchBuilder, x: keras.KerasTensor, block: _Block) -> keras.KerasTensor:
    residual = builder.layernorm(builder.conv(x, block.depthwise), block.norm)
    residual = layers.Activation("gelu")(builder.dense(residual, block.expand))
    return layers.Add()([x, builder.dense(residual, block.project)])


def _merge_scales(tensors: Tensors, stages: list[list[_Block]]) -> Tensors:
    """Return tensors in which the last layer of each block includes the factors of its channels."""
    weights = dict(tensors)
    for block in (block for blocks in stages for block in blocks):
        if block.scale in tensors:
            scale = weights.pop(block.scale).reshape(-1)
            for part in ("weight", "bias"):
                name = f"{block.project}.{part}"
                if name not in weights or len(weights[name]) != len(scale):
                    raise WeightsFileError(f"expected {name} with a row for each of {len(scale)} channels")
                weights[name] = (weights[name].T * scale).T
    return weights
