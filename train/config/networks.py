"""The section `model` of a configuration: which network is trained."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from train.config.config_base import ConfigBase, Count, Fraction

EfficientNetLiteName: TypeAlias = Literal["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
MIN_WIDTH = 16
"""For the gradient of a 1x1 convolution with stride 2 from 8 or fewer channels, TensorFlow 2.20 with oneDNN on AVX-512
writes beyond its memory, which ends the process, if the images are larger than 40 x 40."""


class SmallCnn(ConfigBase):
    """Blocks of 3x3 convolutions, each block at half the resolution of the block before.

    Attributes:
        blocks: Number of filters of each convolution, block by block.
        dropout: Dropout rate before the last layer, as for all networks.
    """

    kind: Literal["small_cnn"]
    blocks: Annotated[tuple[tuple[Count, ...], ...], Field(min_length=1)]
    dropout: Fraction = 0.0


class ResNet18(ConfigBase):
    """ResNet-18 for small images: a 3x3 stem of stride 1 without pooling after it.

    Source: He et al., Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385, with the
    stem of its section 4.2 for CIFAR-10.

    Attributes:
        width: Number of filters of the first stage, at least `MIN_WIDTH`; each later stage has twice as many as the
            stage before.
        dropout: Dropout rate before the last layer.
    """

    kind: Literal["resnet18"]
    width: Annotated[int, Field(ge=MIN_WIDTH)] = 64
    dropout: Fraction = 0.0


class SqueezeNet(ConfigBase):
    """SqueezeNet 1.1, see `train.networks.squeezenet`.

    Attributes:
        dropout: Dropout rate before the last layer.
    """

    kind: Literal["squeezenet"]
    dropout: Fraction = 0.0


class Application(ConfigBase):
    """A network of `keras.applications` without its last layer, for RGB images.

    Attributes:
        name: Name of the network.
        weights: Initial weights: `imagenet` for those that Keras publishes (downloaded into ~/.keras), `none`, or
            a file as Keras publishes it, with or without the last layer.
        dropout: Dropout rate before the last layer.
    """

    kind: Literal["application"]
    name: Literal["MobileNetV2", "ResNet50", "InceptionV3", "DenseNet121"]
    weights: Literal["imagenet", "none"] | Path = "imagenet"
    dropout: Fraction = 0.0


class EfficientNetLite(ConfigBase):
    """EfficientNet-Lite without its last layer, see `train.networks.efficientnet_lite`.

    Attributes:
        kind: Which of the networks.
        upsample: Factor by which images are enlarged before the first layer. The network halves its images five times,
            so that of 32 x 32 pixels one position would be left.
        weights: Initial weights: `imagenet` for those of the Python package that carries them, `none`, or a PyTorch
            checkpoint, `.pth` or `.safetensors`.
        dropout: Dropout rate before the last layer.
    """

    kind: EfficientNetLiteName
    upsample: Count = 1
    weights: Literal["imagenet", "none"] | Path = "imagenet"
    dropout: Fraction = 0.0


Pretrained: TypeAlias = Application | EfficientNetLite
"""Networks whose initial weights may be published ones."""

NetworkConfig: TypeAlias = Annotated[
    SmallCnn | ResNet18 | SqueezeNet | Application | EfficientNetLite, Field(discriminator="kind")
]
