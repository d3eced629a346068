"""Build MobileNetV2, MobileNetV3, EfficientNet and EfficientNet-Lite from PyTorch weights.

They are one network: blocks that expand the channels, convolve each by itself and project to fewer. Filters follow from
the tensors; the tables here have what does not: strides and activations. Sources: Sandler et al.,
https://arxiv.org/abs/1801.04381, table 2; Howard et al., https://arxiv.org/abs/1905.02244, tables 1 and 2; Tan and Le,
https://arxiv.org/abs/1905.11946, table 1. Names, padding and epsilon are those of https://github.com/pytorch/vision
(torchvision/models), https://github.com/huggingface/pytorch-image-models (timm/models) and
https://github.com/lukemelas/EfficientNet-PyTorch.
"""

import logging
import math
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, NamedTuple, TypeAlias

import keras
from keras import layers

from train.importers.architectures.heads import fit_head
from train.importers.architectures.torch_builder import Padding, TorchBuilder
from train.networks.build import POOL
from train.networks.efficientnet_lite import STAGES as EFFICIENTNET_STAGES
from train.weights.tensors import Tensors, WeightsFileError

NETWORK = "a MobileNet or EfficientNet"
EPSILON, TF_EPSILON = 1e-5, 1e-3
"""Of normalisation, by default and in networks with weights from TensorFlow."""
TF_PREFIX = "tf_"
MIN_CONVOLUTIONS = 2
"""Convolutions of a block without expansion: one by channels, one that projects."""
Variant: TypeAlias = Literal["plain", "tf"]
"""`tf` for timm's networks with weights from TensorFlow, such as tf_efficientnet_b0; their tensors look the same."""

MAX_ROUNDING = 16
"""Narrow and wide networks round numbers of filters to multiples of 8."""
DEPTHS = (1.0, 1.1, 1.2, 1.4, 1.8)
"""Factors of the numbers of blocks of EfficientNet-B0 to B4 and of EfficientNet-Lite0 to 4."""
LAST_FILTERS = (320, 320, 352, 384, 448)
"""Filters at the end of their last blocks, which tell those of the same depth apart."""


class Block(NamedTuple):
    """What the tensors of a block must have, and what does not follow from them.

    Attributes:
        kernel_size: Side of the depthwise convolution.
        strides: Of the depthwise convolution.
        expands: Whether a 1x1 convolution comes first.
        squeezes: Whether a squeeze-and-excitation comes before the projection.
        activation: Keras' name of the activation.
    """

    kernel_size: int
    strides: int
    expands: bool
    squeezes: bool
    activation: str


class Architecture(NamedTuple):
    """A network.

    Attributes:
        name: Name of the network.
        blocks: Its blocks in order.
        activation: Of the first and the last convolution.
        squeeze_activations: The two of squeeze-and-excitation.
        torchvision_epsilon: Of normalisation in torchvision.
        last_filters: Filters at the end of the last block; None for any.
        hidden_ratio: Units of the layer before the last one, for each of its inputs; 0 if there is no such layer.
    """

    name: str
    blocks: tuple[Block, ...]
    activation: str
    squeeze_activations: tuple[str, str] = ("relu", "hard_sigmoid")
    torchvision_epsilon: float = 1e-5
    last_filters: int | None = None
    hidden_ratio: float = 0

    @property
    def family(self) -> str:
        """The name without the size."""
        return re.sub(r"(_b)?\d$", "", self.name) if self.last_filters else self.name


def _mobilenet_v2() -> Architecture:
    repeats, strides = (1, 2, 3, 4, 3, 3, 1), (1, 2, 2, 2, 1, 2, 1)
    firsts = [
        Block(3, stride, expands=index > 0, squeezes=False, activation="relu6") for index, stride in enumerate(strides)
    ]
    return Architecture("mobilenet_v2", tuple(_repeat(firsts, repeats)), "relu6")


def _mobilenet_v3(  # noqa: PLR0913, PLR0917  # each is a column or a property of the paper's table
    name: str, kernels: str, strides: str, squeezes: str, relu_blocks: int, hidden_ratio: float
) -> Architecture:
    """Build the table of a network from a digit for each block."""
    columns = zip(map(int, kernels), map(int, strides), map(int, squeezes), strict=True)
    blocks = tuple(
        # Only Large has a first block that keeps the size; neither expands in its first block.
        Block(size, stride, index > 0, bool(squeeze), "relu" if index < relu_blocks else "hard_silu")
        for index, (size, stride, squeeze) in enumerate(columns)
    )
    return Architecture(name, blocks, "hard_silu", torchvision_epsilon=1e-3, hidden_ratio=hidden_ratio)


def _efficientnet(number: int, *, lite: bool) -> Architecture:
    """Build the table of an EfficientNet; Lite scales neither the first nor the last stage."""
    activation = "relu6" if lite else "silu"
    last = len(EFFICIENTNET_STAGES) - 1
    firsts, repeats = [], []
    for index, (count, block) in enumerate(EFFICIENTNET_STAGES):
        firsts.append(Block(block.kernel_size, block.strides, block.expansion > 1, not lite, activation))
        repeats.append(count if lite and index in {0, last} else math.ceil(count * DEPTHS[number]))
    name = f"efficientnet_{'lite' if lite else 'b'}{number}"
    blocks = tuple(_repeat(firsts, repeats))
    return Architecture(name, blocks, activation, ("silu", "sigmoid"), last_filters=LAST_FILTERS[number])


def _repeat(firsts: Sequence[Block], repeats: Sequence[int]) -> Iterator[Block]:
    for first, count in zip(firsts, repeats, strict=True):
        yield first
        yield from [first._replace(strides=1)] * (count - 1)


MOBILENET_V2 = _mobilenet_v2()
ARCHITECTURES = (
    MOBILENET_V2,
    _mobilenet_v3("mobilenet_v3_large", "333555333333555", "121211211111211", "000111000011111", 6, 1280 / 960),
    _mobilenet_v3("mobilenet_v3_small", "33355555555", "22121111211", "10011111111", 3, 1024 / 576),
    *(_efficientnet(number, lite=lite) for lite in (False, True) for number in range(len(DEPTHS))),
)


class Names(NamedTuple):
    """PyTorch's names of the layers of a block.

    Attributes:
        start: What they all begin with.
        convolutions: Names of each convolution and of what normalises after it, in order.
        squeeze: Names of the two convolutions of squeeze-and-excitation, or none.
    """

    start: str
    convolutions: tuple[tuple[str, str], ...]
    squeeze: tuple[str, ...]


class Layout(NamedTuple):
    """Names of the layers of a network in one of the libraries.

    Attributes:
        block: Pattern of the start of the names in a block.
        order: Names of the convolutions of a block in their order; none if they are numbers.
        squeeze: Ends of the names of the convolutions of squeeze-and-excitation.
        stem: First convolution, and what normalises after it.
        lasts: Last convolution alike; of several, the first that is there.
        hidden: Layer between the average and the last layer, if it is there and not the last convolution.
        heads: Last layer; of several, the first that is there.
    """

    block: str
    order: tuple[str, ...]
    squeeze: tuple[str, str]
    stem: tuple[str, str]
    lasts: tuple[tuple[str, str], ...]
    hidden: str
    heads: tuple[str, ...]


TORCHVISION = Layout(
    block=r"features\.\d+\.(?:\d+\.)?(?:conv|block)\.",
    order=(),
    squeeze=("fc1", "fc2"),
    stem=("features.0.0", "features.0.1"),
    lasts=tuple((f"features.{index}.0", f"features.{index}.1") for index in (18, 16, 12, 8)),
    hidden="classifier.0",
    heads=("classifier.3", "classifier.1"),
)
TIMM = Layout(
    block=r"blocks\.\d+\.\d+\.",
    order=("conv_pw", "conv_dw", "conv_pwl"),
    squeeze=("se.conv_reduce", "se.conv_expand"),
    stem=("conv_stem", "bn1"),
    lasts=(("blocks.6.0.conv", "blocks.6.0.bn1"), ("blocks.5.0.conv", "blocks.5.0.bn1"), ("conv_head", "bn2")),
    hidden="conv_head",
    heads=("classifier",),
)
EFFICIENTNET_PYTORCH = Layout(
    block=r"_blocks\.\d+\.",
    order=("_expand_conv", "_depthwise_conv", "_project_conv"),
    squeeze=("_se_reduce", "_se_expand"),
    stem=("_conv_stem", "_bn0"),
    lasts=(("_conv_head", "_bn1"),),
    hidden="_conv_head",
    heads=("_fc",),
)
LAYOUTS = (TORCHVISION, TIMM, EFFICIENTNET_PYTORCH)

logger = logging.getLogger(__name__)


def inverted_residual_from_torch(tensors: Tensors, variant: Variant | None = None) -> keras.Model:
    """Build the network that the tensors belong to, with their values as weights.

    Args:
        tensors: Weights by PyTorch's names.
        variant: Which of two networks with the same tensors is meant, if the names are timm's; None for `plain`.

    Returns:
        A model from float32[N, H, W, C], normalised as in training, to float32[N, K] class scores. It ends in the
        layers `POOL` and `HEAD`; in MobileNetV3 a further layer is between them.

    Raises:
        WeightsFileError: The tensors belong to another kind of network.
    """
    layout = next((layout for layout in LAYOUTS if f"{layout.stem[0]}.weight" in tensors), None)
    if layout is None:
        stems = " or ".join(f"{layout.stem[0]}.weight" for layout in LAYOUTS)
        raise WeightsFileError(f"expected the weights of {NETWORK}, but there is no tensor {stems}")
    blocks = list(_read_blocks(tensors, layout))
    architecture = _find_architecture(tensors, blocks)
    if layout is TIMM and architecture.name.startswith("mobilenet_v3") and "conv_head.bias" not in tensors:
        raise WeightsFileError(
            f"there is no tensor conv_head.bias, which {architecture.name} has; timm's mobilenetv3_rw lacks it, and "
            "differs in its first block and in the epsilon of normalisation"
        )
    if layout is TIMM:
        architecture = _choose_variant(architecture, variant)
    return _build(_fit_head(tensors, layout, architecture), layout, blocks, architecture)


def _fit_head(tensors: Tensors, layout: Layout, architecture: Architecture) -> Tensors:
    """Return tensors with the last layer under the layout's name; see `train.importers.architectures.heads`."""
    hidden, ratio = tensors.get(f"{layout.hidden}.weight"), architecture.hidden_ratio
    if ratio and hidden is not None and abs(len(hidden) - ratio * hidden.shape[1]) < MAX_ROUNDING:
        return fit_head(tensors, layout.heads[0], body=(layout.hidden,))  # no program's own layer has this width
    return fit_head(tensors, layout.heads[-1])


def _build(tensors: Tensors, layout: Layout, blocks: Sequence[Names], architecture: Architecture) -> keras.Model:
    builder = TorchBuilder(tensors, architecture.name, *_conventions(layout, architecture))
    image = builder.image(layout.stem[0])
    x = layers.Activation(architecture.activation)(builder.conv_batchnorm(image, *layout.stem, strides=2))
    for block, names in zip(architecture.blocks, blocks, strict=True):
        x = _build_block(builder, x, block, names, architecture.squeeze_activations)
    last = next((last for last in layout.lasts if f"{last[0]}.weight" in tensors), layout.lasts[-1])
    x = layers.Activation(architecture.activation)(builder.conv_batchnorm(x, *last))
    average = layers.GlobalAveragePooling2D(name=POOL)(x)
    if layout.hidden != last[0] and f"{layout.hidden}.weight" in tensors:
        average = layers.Activation(architecture.activation)(builder.dense(average, layout.hidden))
    head = next((head for head in layout.heads if f"{head}.weight" in tensors), layout.heads[-1])
    return builder.classifier(image, average, head, architecture.name)


def _build_block(
    builder: TorchBuilder, image: keras.KerasTensor, block: Block, names: Names, squeeze_activations: tuple[str, str]
) -> keras.KerasTensor:
    *first, project = names.convolutions
    x = image
    for index, (conv, norm) in enumerate(first, start=1):
        is_depthwise = index == len(first)
        x = builder.conv_batchnorm(x, conv, norm, strides=block.strides if is_depthwise else 1)
        x = layers.Activation(block.activation)(x)
    if names.squeeze:
        x = builder.squeeze_excite(x, names.squeeze, *squeeze_activations)
    x = builder.conv_batchnorm(x, *project)
    return layers.Add()([x, image]) if (block.strides, x.shape[-1]) == (1, image.shape[-1]) else x


def _conventions(layout: Layout, architecture: Architecture) -> tuple[float, Padding]:
    """Return the epsilon of normalisation and the padding of convolutions."""
    if layout is EFFICIENTNET_PYTORCH or architecture.name.startswith(TF_PREFIX):
        return TF_EPSILON, "same"
    return architecture.torchvision_epsilon if layout is TORCHVISION else EPSILON, "symmetric"


def _choose_variant(architecture: Architecture, variant: Variant | None) -> Architecture:
    if variant is None and architecture is not MOBILENET_V2:
        logger.warning(
            "The weights are read as those of timm's %s. Its networks whose names begin with %s have tensors of the "
            "same names and shapes, but pad otherwise: choose the variant tf if one of them is meant.",
            architecture.name,
            TF_PREFIX,
        )
    return architecture._replace(name=f"{TF_PREFIX}{architecture.name}") if variant == "tf" else architecture


def _read_blocks(tensors: Tensors, layout: Layout) -> Iterator[Names]:
    """Yield the names of the layers of each block, in the order of the blocks."""
    pattern = re.compile(rf"({layout.block})(.+)\.(weight|running_mean)")
    not_in_blocks = {conv for conv, _ in layout.lasts}
    kernels: dict[str, list[str]] = {}
    norms: dict[str, list[str]] = {}
    for name in tensors:
        if match := pattern.fullmatch(name):
            start, part, kind = match.groups()
            if kind == "running_mean":
                norms.setdefault(start, []).append(part)
            elif tensors[name].ndim > 1 and start + part not in not_in_blocks:
                kernels.setdefault(start, []).append(part)
    for start in sorted(kernels, key=_numbers):
        squeeze = [part for end in layout.squeeze for part in kernels[start] if part.endswith(end)]
        convolutions = _order_convolutions(tensors, start, set(kernels[start]) - set(squeeze), layout)
        normalisations = sorted(norms.get(start, []), key=_numbers)
        if len(convolutions) != len(normalisations):
            raise WeightsFileError(
                f"{start} has {len(convolutions)} convolutions and {len(normalisations)} normalisations; "
                f"{NETWORK} has one for each"
            )
        pairs = zip(convolutions, normalisations, strict=True)
        yield Names(
            start,
            tuple((f"{start}{conv}", f"{start}{norm}") for conv, norm in pairs),
            tuple(f"{start}{part}" for part in squeeze),
        )


def _order_convolutions(tensors: Tensors, start: str, convolutions: AbstractSet[str], layout: Layout) -> list[str]:
    if not layout.order:
        return sorted(convolutions, key=_numbers)
    if unknown := convolutions - set(layout.order):
        raise WeightsFileError(f"{start}{min(unknown)}.weight is not part of {NETWORK}")
    order = sorted(convolutions, key=layout.order.index)
    # Without expansion, timm calls the projection conv_pw, as it otherwise calls the expansion.
    is_last = [tensors[f"{start}{part}.weight"].shape[1] > 1 for part in order]
    return order[::-1] if is_last == [True, False] else order


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _find_architecture(tensors: Tensors, blocks: Sequence[Names]) -> Architecture:
    """Return the architecture whose blocks the tensors are of; its name has no size if the filters are others."""
    properties = [_describe(tensors, names) for names in blocks]
    candidates = [
        architecture for architecture in ARCHITECTURES if list(map(_expect, architecture.blocks)) == properties
    ]
    if not candidates:
        raise WeightsFileError(_explain_difference(blocks, properties))
    filters = len(tensors[f"{blocks[-1].convolutions[-1][0]}.weight"])
    for architecture in candidates:
        if architecture.last_filters in {None, filters}:
            return architecture
    return candidates[0]._replace(name=candidates[0].family)


def _describe(tensors: Tensors, names: Names) -> tuple[int, bool, bool]:
    """Return the side of the depthwise convolution of a block, whether it expands and whether it squeezes."""
    count = len(names.convolutions)
    if count not in {MIN_CONVOLUTIONS, MIN_CONVOLUTIONS + 1}:
        raise WeightsFileError(f"{names.start} has {count} convolutions; {NETWORK} has 2 or 3 in each block")
    kernel = tensors[f"{names.convolutions[-2][0]}.weight"]
    if kernel.shape[1] != 1:
        raise WeightsFileError(f"{names.convolutions[-2][0]}.weight is not depthwise, as it is in {NETWORK}")
    return kernel.shape[-1], count > MIN_CONVOLUTIONS, bool(names.squeeze)


def _expect(block: Block) -> tuple[int, bool, bool]:
    return block.kernel_size, block.expands, block.squeezes


def _explain_difference(blocks: Sequence[Names], properties: Sequence[tuple[int, bool, bool]]) -> str:
    """Return in which block the tensors first differ from the most similar architecture."""

    def similarity(architecture: Architecture) -> int:
        pairs = zip(map(_expect, architecture.blocks), properties, strict=False)
        return sum(a == b for a, b in pairs) - abs(len(architecture.blocks) - len(properties))

    nearest = max(ARCHITECTURES, key=similarity)
    if len(nearest.blocks) != len(properties):
        return f"the checkpoint has {len(properties)} blocks; {nearest.name} has {len(nearest.blocks)}"
    index = next(index for index, block in enumerate(nearest.blocks) if _expect(block) != properties[index])
    parts = ("the side {} of its depthwise kernel", "an expansion: {}", "squeeze-and-excitation: {}")
    texts = [
        ", ".join(text.format(value) for text, value in zip(parts, values, strict=True))
        for values in (properties[index], _expect(nearest.blocks[index]))
    ]
    return f"{blocks[index].start} has {texts[0]}; in {nearest.name} it has {texts[1]}"
