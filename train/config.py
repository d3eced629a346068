"""What one training run is: a YAML file in `train/configs/`, checked before anything starts."""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from train.cifar10 import Cifar10Data
from train.errors import TrainError
from train.mnist import MnistData
from train.section import Count, Fraction, Positive, Section, Share, refuse_unknown_keys
from vision.card import InputSpec

Percent: TypeAlias = Annotated[int, Field(ge=1, le=100)]


class ConfigError(TrainError):
    """A configuration that cannot be used; one line for each thing wrong with it."""


class SmallCnn(Section):
    """Blocks of 3x3 convolutions, each block at half the resolution of the one before.

    Attributes:
        blocks: Filters of each convolution, block by block.
        dropout: Before the last layer.
    """

    kind: Literal["small_cnn"]
    blocks: Annotated[tuple[tuple[Count, ...], ...], Field(min_length=1)]
    dropout: Fraction = 0.0


class ResNet18(Section):
    """ResNet-18 for small images: a 3x3 stem of stride 1 and no pooling after it.

    Source: He et al., Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385, with the
    stem that its section 4.2 takes for CIFAR-10.

    Attributes:
        width: Filters of the first stage; each further stage has twice as many as the one before.
    """

    kind: Literal["resnet18"]
    width: Count = 64


class Augmentation(Section):
    """Random changes of training images; by default none.

    Attributes:
        stroke: See `train.augment.RandomStroke`; for light strokes on a dark ground.
        contrast: Distance from the image's mean is multiplied by at least 1 - contrast and at most 1 + contrast.
        brightness: At most so much is added, as a fraction of white.
        rotation_degrees: See `train.augment.RandomAffine`, as for all below.
        scale: Smallest and largest.
        shear: The most.
        shift: The most.
        share: Fraction of the images that are turned, scaled, sheared and shifted.
        flip: Half of the images are mirrored, left to right.
        shift_pixels: Shifted by at most so many whole pixels; what comes into view is mirrored at the edge.
        jpeg: Fraction of the images that are re-encoded as JPEG.
        jpeg_quality: Lowest and highest.
    """

    stroke: Share = 0.0
    contrast: Fraction = 0.0
    brightness: Fraction = 0.0
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    shear: Fraction = 0.0
    shift: Fraction = 0.0
    share: Share = 1.0
    flip: bool = False
    shift_pixels: Annotated[int, Field(ge=0)] = 0
    jpeg: Share = 0.0
    jpeg_quality: tuple[Percent, Percent] = (60, 95)

    @model_validator(mode="after")
    def _ranges_are_in_order(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale: the smallest size comes first, then the largest")
        if self.jpeg_quality[0] > self.jpeg_quality[1]:
            raise ValueError("jpeg_quality: the lowest quality comes first, then the highest")
        return self


class Training(Section):
    """The optimisation: the learning rate is warmed up from zero, then goes down to zero.

    Attributes:
        epochs: Passes over the training images, the warm-up included.
        batch_size: Images per step; an incomplete last batch of an epoch is left out.
        optimizer: `adamw` (https://arxiv.org/abs/1711.05101), `sgd` with Nesterov's momentum, or `muon`
            (https://kellerjordan.github.io/posts/muon/, see `train.optimizer.ConvolutionMuon`).
        learning_rate: At its highest.
        schedule: How it goes down, as a `cosine` or `linear`.
        warmup_epochs: How long it goes up.
        momentum: Of `sgd` and `muon`.
        weight_decay: Per step, times the learning rate.
        label_smoothing: Probability mass taken from the right class (https://arxiv.org/abs/1512.00567).
        small_images: Pairs (epochs, pixels): for so many epochs at the start, images are shrunk to that side
            before they are learnt from, which takes less time (https://arxiv.org/abs/1806.01427).
        mixed_precision: Compute in bfloat16, keep weights in float32.
    """

    epochs: Count
    batch_size: Count
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    learning_rate: Positive
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Fraction = 0.0
    small_images: tuple[tuple[Count, Count], ...] = ()
    mixed_precision: bool = False

    def side(self, epoch: int) -> int | None:
        """Tell to which side images are shrunk in an epoch, the first being 0; None for as they are."""
        for epochs, pixels in self.small_images:
            if epoch < epochs:
                return pixels
            epoch -= epochs
        return None


def _known_input_keys(section: object) -> object:
    return refuse_unknown_keys(section, InputSpec.__dataclass_fields__)


class Config(Section):
    """One run, from the data to the served model.

    Attributes:
        name: Of the run's folder and of the served model.
        title: A name for people.
        description: A sentence for people.
        labels: Name of each class, in the order of the data's class numbers.
        seed: Of the weights, the split, the order of the images and their augmentation.
        input: How a picture becomes a model input; it goes into the card and is used here just the same.
        data: Where labelled images come from.
        model: The network.
        augmentation: Applied while training, never in the exported model.
        training: The optimisation.
    """

    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]*$")]
    title: str
    description: str
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    seed: Annotated[int, Field(ge=0)]
    input: Annotated[InputSpec, BeforeValidator(_known_input_keys)]
    data: Annotated[MnistData | Cifar10Data, Field(discriminator="kind")]
    model: Annotated[SmallCnn | ResNet18, Field(discriminator="kind")]
    augmentation: Augmentation = Augmentation()
    training: Training

    @model_validator(mode="after")
    def _served_models_take_plain_pixels(self) -> Self:
        if (self.input.dtype, self.input.layout) != ("uint8", "NHWC"):
            raise ValueError("input: dtype is uint8 and layout NHWC; normalisation is part of the exported graph")
        return self


def load_config(path: Path) -> Config:
    """Read and check a configuration.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or says something that cannot be used; the message
            names the file and, line by line, each key with what is wrong.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: expected YAML in UTF-8: {error}") from error
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path}:\n{_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        place = ".".join(map(str, problem["loc"])) or "the document"
        lines.append(f"  {place}: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
