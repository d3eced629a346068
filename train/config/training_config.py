"""The configuration of a training run: a YAML file such as `train/configs/digits.yaml`, checked before the run."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from train.config.config_base import ConfigBase, find_nearest, reject_unknown_keys
from train.config.datasets import Cifar10Data, FolderData, MnistData, TableData
from train.config.networks import NetworkConfig, PretrainedNetwork, SqueezeNet
from train.config.optimization import Augmentation, Monitor, Optimization
from train.errors import TrainError
from vision.card import InputSpec, Task

CONFIGS = Path("train/configs")
"""The configurations of the served models, by name."""

AnyConfig = TypeVar("AnyConfig", bound=ConfigBase)

SECTIONS_WITH_KIND = ("data", "model")
"""Sections whose keys depend on their `kind`."""

PLAIN_MESSAGES: Mapping[str, str] = {
    "tuple_type": "Input should be a list",
    "path_type": "Input should be a path",
    "string_type": "Input should be text; put a number, true or false in quotes, such as '1'",
    **dict.fromkeys(
        ("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "Input should be a section of keys"
    ),
}
"""Messages for kinds of problems that pydantic describes by types of Python."""
MONITOR_OF_OTHER_TASK: Mapping[Task, Monitor] = {"multiclass": "val_micro_f1", "multilabel": "val_balanced_accuracy"}


class ConfigError(TrainError):
    """A configuration that cannot be used; the message has one line for each problem."""


def _reject_unknown_input_keys(section: object) -> object:
    return reject_unknown_keys(section, InputSpec.__dataclass_fields__)


class TrainingConfig(ConfigBase):
    """Configuration of one training run, from the data to the served model.

    Attributes:
        name: Name of the run's folder and of the served model.
        title: Name of the model for people.
        description: One sentence for people.
        licence: Licence of the trained model on its card.
        labels: Name of each class, in the order of the data's class numbers.
        task: `multiclass` if each image has exactly one class, `multilabel` for any number.
        seed: Seed of the weights, the split, the order of the images and their augmentation.
        input: How an image becomes a model input, in training and, by the model card, in the gateway.
        data: Where labelled images come from.
        model: The network.
        augmentation: Random changes of training images; never part of the exported model.
        training: The optimisation.
        answered_accuracy: Target accuracy for multiclass models that may abstain. The lowest threshold that reaches
            it on the validation images goes into the card.
        confident_share: Fraction of the validation images for which a multiclass model shall be sure, by the score of
            `train.export.confidence` instead of the highest probability; None for the latter.
    """

    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]*$")]
    title: str
    description: str
    licence: Annotated[str, Field(min_length=1)] = "not stated"
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    task: Task = "multiclass"
    seed: Annotated[int, Field(ge=0)]
    input: Annotated[InputSpec, BeforeValidator(_reject_unknown_input_keys)]
    data: Annotated[MnistData | Cifar10Data | FolderData | TableData, Field(discriminator="kind")]
    model: NetworkConfig
    augmentation: Augmentation = Augmentation()
    training: Optimization
    answered_accuracy: Annotated[float, Field(gt=0, le=1)] = 0.99
    confident_share: Annotated[float, Field(gt=0, lt=1)] | None = None

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        repeated = [label for label, count in Counter(labels).items() if count > 1]
        if repeated:
            raise ValueError(f"expected each label once, received {', '.join(repeated)} more than once")
        return labels

    @model_validator(mode="after")
    def _check_input_layout(self) -> Self:
        if (self.input.dtype, self.input.layout) != ("uint8", "NHWC"):
            raise ValueError(
                "input: only dtype uint8 and layout NHWC are accepted; normalisation is part of the exported graph"
            )
        return self

    @model_validator(mode="after")
    def _check_confident_share(self) -> Self:
        if self.confident_share is not None and self.task == "multilabel":
            raise ValueError('confident_share: only a model with task "multiclass" can be unsure; remove this key')
        return self

    @model_validator(mode="after")
    def _check_monitor(self) -> Self:
        monitors = [name for name in get_args(Monitor) if name != MONITOR_OF_OTHER_TASK[self.task]]
        if self.training.monitor not in monitors:
            raise ValueError(
                f"training.monitor: {self.training.monitor} is not measured for a model with task {self.task!r}; choose"
                f" one of {', '.join(monitors)}"
            )
        return self

    @model_validator(mode="after")
    def _check_balance(self) -> Self:
        if self.task == "multilabel" and self.training.sampling == "balanced":
            raise ValueError(
                "training.sampling: images of several classes cannot be drawn so that each class is as frequent; remove"
                " this key, or replace it by class_weights: balanced"
            )
        if isinstance(self.training.class_weights, Mapping):
            try:
                reject_unknown_keys(dict(self.training.class_weights), self.labels)
            except ValueError as error:
                raise ValueError(f"training.class_weights: {error}, expected labels") from error
        return self

    @model_validator(mode="after")
    def _check_small_images(self) -> Self:
        height, width, _ = self.input.shape
        for _, pixels in self.training.small_images:
            if pixels > min(height, width) or pixels == height == width:
                raise ValueError(
                    f"training.small_images: {pixels} pixels do not reduce images of {height} x {width}; set a smaller"
                    " side, or remove the pair"
                )
        return self

    @model_validator(mode="after")
    def _check_sections_against_each_other(self) -> Self:
        if isinstance(self.model, PretrainedNetwork | SqueezeNet) and self.input.color != "RGB":
            raise ValueError(f"input.color: a model of kind {self.model.kind} accepts only RGB")
        if self.augmentation.rand_augment and self.input.color == "GRAY":
            raise ValueError("augmentation.rand_augment: some of its operations need colour images; remove this key")
        if (self.augmentation.hue or self.augmentation.saturation) and self.input.color == "GRAY":
            raise ValueError("augmentation: hue and saturation need colour images; remove these keys")
        if self.training.transfer and not isinstance(self.model, PretrainedNetwork):
            raise ValueError(
                f"training.transfer: a model of kind {self.model.kind} has no pretrained weights; remove this section"
            )
        if self.training.transfer and isinstance(self.model, PretrainedNetwork) and self.model.weights == "none":
            raise ValueError(
                "training.transfer: model.weights is none, so the network has learned nothing that its last layer "
                "could use;"
                " set model.weights to imagenet or the path of a file, or remove this section"
            )
        if self.augmentation.is_set() and not self.training.fine_tuning:
            raise ValueError(
                "augmentation: has no effect if training.epochs is 0, since the last layer alone learns from images as"
                " they are; set training.epochs to 1 or more, or remove this section"
            )
        return self


def load_config(path: Path) -> TrainingConfig:
    """Load and check a training configuration.

    Raises:
        ConfigError: As for `load_yaml`.
    """
    return load_yaml(path, TrainingConfig)


def load_model_config(model: str, path: Path | None) -> TrainingConfig:
    """Load the training configuration of a model's data set.

    Args:
        model: Name of the model.
        path: The configuration, if it is not the one of this name in `CONFIGS`.

    Raises:
        ConfigError: As for `load_yaml`.
    """
    default = CONFIGS / f"{model}.yaml"
    if path is None and not default.exists():
        raise ConfigError(f"{default} does not exist; name the configuration of the data set of {model} with --config")
    return load_config(path or default)


def load_yaml(path: Path, config_type: type[AnyConfig]) -> AnyConfig:
    """Load a YAML file and check it against a configuration model.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or holds unusable values. The message names the file and,
            one a line, each key with its problem.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: expected YAML in UTF-8: {error}") from error
    try:
        return config_type.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path}:\n{_describe_problems(error)}") from error


def _describe_problems(error: ValidationError) -> str:
    lines = []
    problems = error.errors(include_url=False)
    paths = {problem["loc"][:-1] for problem in problems}
    for problem in problems:
        if problem["type"] == "too_short" and problem["loc"] in paths:
            continue  # pydantic counts only valid items, and each of the others has a line of its own
        section, *rest = problem["loc"] or ("the document",)
        keys = rest[1:] if section in SECTIONS_WITH_KIND else rest  # pydantic inserts the kind between them
        if problem["type"] in {"union_tag_invalid", "union_tag_not_found"}:
            keys = ["kind"]
        lines.append(f"  {'.'.join(map(str, (section, *keys)))}: {_describe_problem(problem)}")
    return "\n".join(lines)


def _describe_problem(problem: Mapping[str, Any]) -> str:
    """Describe a problem without names of Python's types."""
    context = problem.get("ctx", {})
    match problem["type"]:
        case "union_tag_invalid":
            return _describe_kind(problem["input"]["kind"], context)
        case "union_tag_not_found":  # pydantic does not tell the known ones
            return "Field required"
        case "too_short":
            return f"expected at least {context['min_length']} items, received {context['actual_length']}"
        case "too_long":
            return f"expected at most {context['max_length']} items, received {context['actual_length']}"
    return PLAIN_MESSAGES.get(problem["type"], problem["msg"].removeprefix("Value error, "))


def _describe_kind(kind: object, context: Mapping[str, Any]) -> str:
    kinds = re.findall("'([^']*)'", context["expected_tags"])
    if kind is None:
        return f"expected one of {', '.join(kinds)}, received no value"
    return f"unknown kind '{kind}'; the nearest is '{find_nearest(str(kind), kinds)}'; the kinds are {', '.join(kinds)}"
