"""Tell by the names of its tensors which kind of network a checkpoint belongs to."""

import re
from collections.abc import Mapping

from train.importers.architectures import convnext, inverted_residual, resnet
from train.weights.tensors import Tensors

FAMILIES: Mapping[str, re.Pattern[str]] = {
    family: re.compile(pattern)
    for family, pattern in {
        "a Swin Transformer": r"\brelative_position_bias_table$",
        "a vision transformer": r"\b(cls_token|class_token|pos_embed)$|\b(patch_embed|encoder_layer_\d+)\.",
        "a DenseNet": r"\bdenseblock\d+\.",
        "an Inception": r"\b(Mixed_\d[a-e]|inception\d[a-e])\.",
        "a RegNet": r"^(trunk_output\.|s\d\.b\d+\.)",
        "a SqueezeNet": r"^features\.\d+\.squeeze\.",
        "a ShuffleNet": r"^stage\d\.\d+\.branch\d\.",
        "a MNASNet": r"^layers\.\d+\.\d+\.layers\.",
        convnext.NETWORK: r"^features\.\d+\.\d+\.layer_scale$|^stages\.\d+\.blocks\.\d+\.conv_dw\.",
        inverted_residual.NETWORK: r"^_?blocks\.\d+\.|^features\.\d+\.(\d+\.)?(conv|block)\.\d+\.",
        resnet.NETWORK: r"^(layer\d|(0\.)?4)\.\d+\.conv\d\.",
        "a VGG or an AlexNet": r"^features\.\d+\.weight$",
    }.items()
}
"""Names of tensors that tell kinds of networks, the most particular first."""


def find_family(tensors: Tensors) -> str:
    """Return what the network is, `a ResNet`, or nothing if its tensors have names of none that is known."""
    for family, pattern in FAMILIES.items():
        if any(map(pattern.search, tensors)):
            return family
    return ""
