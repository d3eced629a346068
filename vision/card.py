"""The model card: what a model expects and what its answers mean, as one JSON document.

Every model carries its card inside the SavedModel (signature ``describe``); a foreign model has one
beside it, written by hand, where four fields are enough::

    {"name": "cats", "labels": ["cat", "other"], "input": {"height": 224, "width": 224}}

Types are checked where a card is read from JSON, values wherever a card is made. Keys that this version
does not know are ignored, so that newer cards still read; another ``schema`` number is refused.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, Self, TypeAlias, get_args

SCHEMA = 1
UINT8_MAX = 255
MAX_QUOTED = 60  # characters of a wrong value that a message shows

Task: TypeAlias = Literal["multiclass", "multilabel"]
Color: TypeAlias = Literal["RGB", "BGR", "GRAY"]
Dtype: TypeAlias = Literal["uint8", "float32"]
Layout: TypeAlias = Literal["NHWC", "NCHW"]
Resize: TypeAlias = Literal["stretch", "center_crop", "letterbox", "fit_ink"]
Interpolation: TypeAlias = Literal["nearest", "bilinear", "bicubic", "area"]
Activation: TypeAlias = Literal["none", "softmax", "sigmoid"]


class CardError(ValueError):
    """A card that cannot be used; the message names the field, what was expected and what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One model input, and how a picture becomes it; ``vision.preprocess`` tells what each value does.

    Attributes:
        height: Rows, at least 1.
        width: Columns, at least 1.
        color: Channels and their order.
        dtype: ``uint8`` holds 0..255; ``float32`` holds ``(x - mean) / std`` of x in 0..255.
        layout: Channels last or channels first.
        resize: How a picture of another size is fitted.
        interpolation: How it is sampled.
        mean: Per channel in the order of `color`, in units of 0..255; empty means zeros.
        std: Likewise, above zero; empty means ones.
        invert_light_background: Turn dark ink on a light ground into light ink on a dark one.
        background: RGB, 0..255, that transparent pixels and letterbox bars get.
        channels: Number of channels, 1 or 3, computed from `color`.
        shape: Shape of one item without the batch dimension, computed: [H, W, C] or [C, H, W] by `layout`.
    """

    height: int
    width: int
    color: Color = "RGB"
    dtype: Dtype = "uint8"
    layout: Layout = "NHWC"
    resize: Resize = "stretch"
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    invert_light_background: bool = False
    background: tuple[int, int, int] = (255, 255, 255)
    # Computed once: every request reads them.
    channels: int = field(init=False, repr=False, compare=False)
    shape: tuple[int, int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute `channels` and `shape`, and check the values.

        Raises:
            CardError: A value is out of its range, or two do not fit together.
        """
        channels = 1 if self.color == "GRAY" else 3
        is_nchw = self.layout == "NCHW"
        shape = (channels, self.height, self.width) if is_nchw else (self.height, self.width, channels)
        object.__setattr__(self, "channels", channels)  # frozen
        object.__setattr__(self, "shape", shape)
        _check(self.height >= 1, "input.height", "an integer of at least 1", self.height)
        _check(self.width >= 1, "input.width", "an integer of at least 1", self.width)
        per_channel = f"{self.channels}, one number per channel of {self.color}, or none"
        _check(len(self.mean) in {0, self.channels}, "input.mean", per_channel, self.mean)
        _check(len(self.std) in {0, self.channels}, "input.std", per_channel, self.std)
        _check(all(value > 0 for value in self.std), "input.std", "numbers above 0", self.std)
        in_range = all(0 <= value <= UINT8_MAX for value in self.background)
        _check(in_range, "input.background", "integers in 0..255", self.background)
        if self.dtype == "uint8" and (self.mean or self.std):
            raise _error("input.dtype", "'float32' where mean or std is given", self.dtype)
        if self.resize == "fit_ink" and self.color != "GRAY":
            raise _error("input.color", "'GRAY' where resize is 'fit_ink'", self.color)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """The output of ``serving_default`` that holds a score per label.

    Attributes:
        name: Key of the tensor in the signature.
        activation: What still has to be applied to turn the scores into probabilities.
    """

    name: str = "probabilities"
    activation: Activation = "none"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            CardError: The name is empty.
        """
        _check(self.name != "", "output.name", "the name of the output tensor", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a model is, takes and gives.

    Attributes:
        name: The name it is served under.
        labels: Label of each class, in the order of the output. They need not differ (ImageNet's do not).
        input: What goes in.
        title: A name for people; may be empty.
        description: A sentence or two for people; may be empty.
        task: ``multiclass``: exactly one label is right. ``multilabel``: any number of them.
        threshold: From which score on a label counts as present, 0..1: one for all, or one per label.
        output: What comes out.
        metrics: Measured quality, JSON values by name.
        provenance: Architecture, data set, training configuration, licence: JSON values by name.
    """

    name: str
    labels: tuple[str, ...]
    input: InputSpec
    title: str = ""
    description: str = ""
    task: Task = "multiclass"
    threshold: float | tuple[float, ...] = 0.5
    output: OutputSpec = field(default_factory=OutputSpec)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            CardError: A value is out of its range, or two do not fit together.
        """
        _check(self.name != "", "name", "the name of the model", self.name)
        _check(len(self.labels) > 0, "labels", "at least one label", self.labels)
        _check(all(self.labels), "labels", "no empty label", self.labels)
        thresholds = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,)
        _check(all(0 <= value <= 1 for value in thresholds), "threshold", "numbers in 0..1", self.threshold)
        if isinstance(self.threshold, tuple):
            one_each = f"one number, or {len(self.labels)}: one per label"
            _check(len(self.threshold) == len(self.labels), "threshold", one_each, self.threshold)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a card.

        Args:
            text: A JSON object, UTF-8 where it is bytes. `name`, `labels`, `input.height` and `input.width`
                are required; a field that is absent or null has its default.

        Raises:
            CardError: Not JSON, a field missing, of the wrong type or out of range, or another schema.
        """
        try:
            document = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise CardError(f"card: expected a JSON document, found {_quoted(text)}: {error}") from error
        _check(isinstance(document, dict), "card", "a JSON object", document)
        schema = document.get("schema", SCHEMA)
        _check(schema is not True and schema == SCHEMA, "schema", f"{SCHEMA}, the only one this version reads", schema)
        return cls(**_arguments(cls, document, _CARD_PARSERS))

    def to_json(self) -> str:
        """Write the card so that `from_json` gives an equal one.

        Raises:
            ValueError: `metrics` or `provenance` hold NaN or infinity, which JSON has no words for.
            TypeError: They hold something else that is no JSON value.
        """
        document = {"schema": SCHEMA} | dataclasses.asdict(self)
        document["input"] = {name: document["input"][name] for name in _INPUT_PARSERS}  # without what is computed
        return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)


_Parser: TypeAlias = Callable[[object, str], object]


def _arguments(
    cls: type[Any], document: Mapping[str, object], parsers: Mapping[str, _Parser], prefix: str = ""
) -> dict[str, Any]:
    """Return the constructor's arguments for what `document` holds, each checked by its parser."""
    present = {key: value for key, value in document.items() if value is not None}
    for item in dataclasses.fields(cls):
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if item.init and required and item.name not in present:
            raise CardError(f"{prefix}{item.name}: is required, but missing")
    return {key: parse(present[key], f"{prefix}{key}") for key, parse in parsers.items() if key in present}


def _text(value: object, path: str) -> object:
    _check(isinstance(value, str), path, "a string", value)
    return value


def _boolean(value: object, path: str) -> object:
    _check(isinstance(value, bool), path, "true or false", value)
    return value


def _integer(value: object, path: str) -> object:
    _check(isinstance(value, int) and not isinstance(value, bool), path, "an integer", value)
    return value


def _number(value: object, path: str) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _error(path, "a number", value)
    _check(abs(value) <= sys.float_info.max, path, "a finite number", value)  # 1e999 is valid JSON
    return float(value)


def _mapping(value: object, path: str) -> object:
    _check(isinstance(value, dict), path, "an object", value)
    return value


def _choice(allowed: tuple[str, ...]) -> _Parser:
    expected = "one of " + ", ".join(map(repr, allowed))

    def parse(value: object, path: str) -> object:
        _check(value in allowed, path, expected, value)
        return value

    return parse


def _tuple_of(parse_item: _Parser) -> _Parser:
    def parse(value: object, path: str) -> object:
        if not isinstance(value, list):
            raise _error(path, "a list", value)
        return tuple(parse_item(item, f"{path}[{index}]") for index, item in enumerate(value))

    return parse


def _rgb(value: object, path: str) -> object:
    _check(isinstance(value, list) and len(value) == len("RGB"), path, "a list of three integers", value)
    return _tuple_of(_integer)(value, path)


def _number_or_numbers(value: object, path: str) -> object:
    return _tuple_of(_number)(value, path) if isinstance(value, list) else _number(value, path)


def _input(value: object, path: str) -> object:
    if not isinstance(value, dict):
        raise _error(path, "an object", value)
    return InputSpec(**_arguments(InputSpec, value, _INPUT_PARSERS, prefix=f"{path}."))


def _output(value: object, path: str) -> object:
    if not isinstance(value, dict):
        raise _error(path, "an object", value)
    return OutputSpec(**_arguments(OutputSpec, value, _OUTPUT_PARSERS, prefix=f"{path}."))


_INPUT_PARSERS: Mapping[str, _Parser] = {
    "height": _integer,
    "width": _integer,
    "color": _choice(get_args(Color)),
    "dtype": _choice(get_args(Dtype)),
    "layout": _choice(get_args(Layout)),
    "resize": _choice(get_args(Resize)),
    "interpolation": _choice(get_args(Interpolation)),
    "mean": _tuple_of(_number),
    "std": _tuple_of(_number),
    "invert_light_background": _boolean,
    "background": _rgb,
}

_OUTPUT_PARSERS: Mapping[str, _Parser] = {"name": _text, "activation": _choice(get_args(Activation))}

_CARD_PARSERS: Mapping[str, _Parser] = {
    "name": _text,
    "labels": _tuple_of(_text),
    "input": _input,
    "title": _text,
    "description": _text,
    "task": _choice(get_args(Task)),
    "threshold": _number_or_numbers,
    "output": _output,
    "metrics": _mapping,
    "provenance": _mapping,
}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _check(condition: bool, path: str, expected: str, found: object) -> None:  # noqa: FBT001  # reads as an assertion
    if not condition:
        raise _error(path, expected, found)


def _error(path: str, expected: str, found: object) -> CardError:
    return CardError(f"{path}: expected {expected}, found {_quoted(found)}")


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"
