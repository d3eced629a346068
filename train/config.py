"""What one training run is: a YAML file in `train/configs/`, checked before anything starts."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from train.errors import TrainError
from vision.card import InputSpec

MnistFile: TypeAlias = Literal[
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class ConfigError(TrainError):
    """A configuration that cannot be used; one line for each thing wrong with it."""


def _refuse_unknown_keys(section: object, known: Iterable[str]) -> object:
    if not isinstance(section, dict):
        return section
    known = list(known)
    for key in section:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0)
            raise ValueError(f"unknown key '{key}'; the nearest known key is '{nearest[0]}'")
    return section


class Section(BaseModel):
    """A part of the configuration: unchangeable, and nothing in it goes unread."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, section: object) -> object:
        return _refuse_unknown_keys(section, cls.model_fields)


class MnistData(Section):
    """MNIST's four idx files, from a directory or from the internet.

    Attributes:
        directory: Where the files are, packed (.gz) or not; what is missing is downloaded to it.
        mirrors: URLs of folders that hold the packed files, tried in this order.
        sha256: Of each file unpacked: every distribution packs its own way.
        validation: How many of the training images are kept back to watch the training with.
        title: Name, for the model card.
        licence: Likewise.
    """

    kind: Literal["mnist"]
    directory: Path
    mirrors: tuple[str, ...]
    sha256: dict[MnistFile, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(min_length=4)
    validation: Annotated[int, Field(ge=1)]
    title: str
    licence: str


class SmallCnn(Section):
    """Blocks of 3x3 convolutions, each block at half the resolution of the one before.

    Attributes:
        blocks: Filters of each convolution, block by block.
        dropout: Before the last layer.
    """

    kind: Literal["small_cnn"]
    blocks: Annotated[tuple[tuple[Annotated[int, Field(ge=1)], ...], ...], Field(min_length=1)]
    dropout: Fraction = 0.0


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
    """

    stroke: Annotated[float, Field(ge=0, le=1)] = 0.0
    contrast: Fraction = 0.0
    brightness: Fraction = 0.0
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    shear: Fraction = 0.0
    shift: Fraction = 0.0
    share: Annotated[float, Field(ge=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale: the smallest size comes first, then the largest")
        return self


class Training(Section):
    """The optimisation: AdamW, the learning rate warmed up for one epoch, then a cosine down to zero.

    Attributes:
        epochs: Passes over the training images, the warm-up one included.
        batch_size: Images per step; an incomplete last batch of an epoch is left out.
        learning_rate: At its highest.
        weight_decay: Per step, times the learning rate (https://arxiv.org/abs/1711.05101).
        label_smoothing: Probability mass taken from the right class (https://arxiv.org/abs/1512.00567).
    """

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Fraction = 0.0


def _known_input_keys(section: object) -> object:
    return _refuse_unknown_keys(section, InputSpec.__dataclass_fields__)


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
    data: MnistData
    model: SmallCnn
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
