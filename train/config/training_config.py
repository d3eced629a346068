"""What one training run is: a YAML file in `train/configs/`, checked before anything starts."""

from pathlib import Path
from typing import Annotated, Self, TypeVar

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from train.config.config_base import ConfigBase, refuse_unknown_keys
from train.config.datasets import Cifar10Data, FolderData, MnistData, TableData
from train.config.networks import Application, Model, SqueezeNet
from train.config.optimization import Augmentation, Training
from train.errors import TrainError
from vision.card import InputSpec, Task

AnySection = TypeVar("AnySection", bound=ConfigBase)

OF_A_KIND = ("data", "model")
"""Sections whose keys depend on their `kind`."""


class ConfigError(TrainError):
    """A configuration that cannot be used; one line for each thing wrong with it."""


def _known_input_keys(section: object) -> object:
    return refuse_unknown_keys(section, InputSpec.__dataclass_fields__)


class TrainingConfig(ConfigBase):
    """One run, from the data to the served model.

    Attributes:
        name: Of the run's folder and of the served model.
        title: A name for people.
        description: A sentence for people.
        labels: Name of each class, in the order of the data's class numbers.
        task: Whether an image is of exactly one class, or of any number of them.
        seed: Of the weights, the split, the order of the images and their augmentation.
        input: How a picture becomes a model input; it goes into the card and is used here just the same.
        data: Where labelled images come from.
        model: The network.
        augmentation: Applied while training, never in the exported model.
        training: The optimisation.
        answered_accuracy: Which fraction of the answers shall be right, to images of exactly one class, when those
            below a threshold are withheld; the lowest such threshold on the validation images goes into the card.
    """

    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]*$")]
    title: str
    description: str
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    task: Task = "multiclass"
    seed: Annotated[int, Field(ge=0)]
    input: Annotated[InputSpec, BeforeValidator(_known_input_keys)]
    data: Annotated[MnistData | Cifar10Data | FolderData | TableData, Field(discriminator="kind")]
    model: Model
    augmentation: Augmentation = Augmentation()
    training: Training
    answered_accuracy: Annotated[float, Field(gt=0, le=1)] = 0.99

    @model_validator(mode="after")
    def _served_models_take_plain_pixels(self) -> Self:
        if (self.input.dtype, self.input.layout) != ("uint8", "NHWC"):
            raise ValueError("input: dtype is uint8 and layout NHWC; normalisation is part of the exported graph")
        return self

    @model_validator(mode="after")
    def _parts_fit_each_other(self) -> Self:
        if isinstance(self.model, Application | SqueezeNet) and self.input.color != "RGB":
            raise ValueError(f"input.color: RGB is what a model of kind {self.model.kind} takes")
        if self.augmentation.rand_augment and self.input.color == "GRAY":
            raise ValueError("augmentation.rand_augment: some of its operations are for pictures in colour alone")
        if self.training.transfer and not isinstance(self.model, Application):
            raise ValueError(
                f"training.transfer: a model of kind {self.model.kind} starts from nothing; leave this out"
            )
        return self


def load_config(path: Path) -> TrainingConfig:
    """Read and check a configuration.

    Raises:
        ConfigError: As `load_section` does.
    """
    return load_section(path, TrainingConfig)


def load_section(path: Path, kind: type[AnySection]) -> AnySection:
    """Read and check a YAML file.

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
        return kind.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path}:\n{_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        section, *rest = problem["loc"] or ("the document",)
        keys = rest[1:] if section in OF_A_KIND else rest  # pydantic puts the kind between them
        place = ".".join(map(str, (section, *keys)))
        lines.append(f"  {place}: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
