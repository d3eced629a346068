"""How a network is made and trained: the sections `model`, `augmentation` and `training` of a configuration."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from train.config.config_base import ConfigBase, Count, Fraction


class SmallCnn(ConfigBase):
    """Blocks of 3x3 convolutions, each block at half the resolution of the one before.

    Attributes:
        blocks: Filters of each convolution, block by block.
        dropout: Before the last layer, here as in all networks.
    """

    kind: Literal["small_cnn"]
    blocks: Annotated[tuple[tuple[Count, ...], ...], Field(min_length=1)]
    dropout: Fraction = 0.0


class ResNet18(ConfigBase):
    """ResNet-18 for small images: a 3x3 stem of stride 1 and no pooling after it.

    Source: He et al., Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385, with the
    stem that its section 4.2 takes for CIFAR-10.

    Attributes:
        width: Filters of the first stage; each further stage has twice as many as the one before.
    """

    kind: Literal["resnet18"]
    width: Count = 64
    dropout: Fraction = 0.0


class SqueezeNet(ConfigBase):
    """SqueezeNet 1.1, see `train.networks.squeezenet`."""

    kind: Literal["squeezenet"]
    dropout: Fraction = 0.0


class Application(ConfigBase):
    """A network of `keras.applications` without its last layer, for pictures in RGB.

    Attributes:
        name: Which.
        weights: What it starts from: `imagenet`, as Keras publishes them (downloaded, into ~/.keras), `none`,
            or a file as Keras publishes it, with its last layer or without.
    """

    kind: Literal["application"]
    name: Literal["MobileNetV2", "ResNet50", "InceptionV3", "DenseNet121"]
    weights: Literal["imagenet", "none"] | Path = "imagenet"
    dropout: Fraction = 0.0


Model: TypeAlias = Annotated[SmallCnn | ResNet18 | SqueezeNet | Application, Field(discriminator="kind")]
