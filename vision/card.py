"""The model card: what a model expects and what its output means, as one JSON document.

A model trained here contains its card (signature ``describe`` of the SavedModel). The card of any other model is a
file beside it, written by hand, in which four fields are enough::

    {"name": "cats", "labels": ["cat", "other"], "input": {"height": 224, "width": 224}}

Types are checked when a card is read from JSON, values whenever a card is created. A key that is not in the schema is
rejected with the nearest one, because a misspelt ``activation`` would otherwise serve wrong scores. A release that adds
a key therefore raises the ``schema`` number, and reads the earlier schemas as well. Schema 2 added ``abstain_below``,
which ``train`` had written into ``metrics``, and ``output.confidence``; schema 3 added ``input.decoding``,
``input.resize_size`` and ``input.antialias``, and more values of ``input.resize`` and ``input.interpolation``. Cards
that use none of these are written in schema 2, which earlier gateways read. Anything else belongs into ``metrics`` or
``provenance``, which are open, or into a note: keys that begin with ``_`` or ``$`` are ignored.
"""

import dataclasses
import difflib
import json
import string
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, Self, TypeAlias, cast, get_args

SCHEMA = 3
SCHEMAS = (1, 2, SCHEMA)
"""Schemas that are read."""
_ADDED_BY_SCHEMA_3: Mapping[str, object] = {"decoding": "scaled", "resize_size": None, "antialias": False}
"""Members of the input, and the values that stand for their absence."""
UINT8_MAX = 255
MAX_QUOTED = 60  # characters of an invalid value that a message shows
MAX_FACTOR = 0.02  # a `std` below is the factor of a multiplication: 1/255 or 1/127.5
MAX_SIDE = 1 << 14  # of a model's input, in pixels
MIN_STD, MAX_STD = 0.001, 10_000  # beyond, a `std` is a slip in any units
NOTES = ("_", "$")
"""First characters of keys that are ignored: comments, and `$schema` for editors."""

Task: TypeAlias = Literal["multiclass", "multilabel"]
Color: TypeAlias = Literal["RGB", "BGR", "GRAY"]
Dtype: TypeAlias = Literal["uint8", "float32"]
Layout: TypeAlias = Literal["NHWC", "NCHW"]
Decoding: TypeAlias = Literal["scaled", "full"]
Resize: TypeAlias = Literal["stretch", "center_crop", "crop_to_aspect_ratio", "letterbox", "fit_ink"]
Interpolation: TypeAlias = Literal["nearest", "nearest_exact", "bilinear", "bicubic", "area"]
Activation: TypeAlias = Literal["none", "softmax", "sigmoid"]

ANTIALIASED: tuple[Interpolation, ...] = ("bilinear", "bicubic")
"""Interpolations that can smooth before they shrink."""


class CardError(ValueError):
    """An invalid card; the message names the field, what was expected and what was found.

    Attributes:
        summary: The same without anything that the card contains: a file that is not a card may hold secrets.
    """

    def __init__(self, summary: str, found: str = "") -> None:
        super().__init__(f"{summary}{found}")
        self.summary = summary


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One model input, and how an image becomes it.

    Attributes:
        height: Rows, at least 1.
        width: Columns, at least 1.
        color: Channels and their order.
        dtype: ``uint8`` holds 0..255; ``float32`` holds ``(x - mean) / std`` of x in 0..255.
        layout: Channels last or channels first.
        decoding: ``scaled`` decodes a JPEG that is much larger than the input at a half, a quarter or an eighth of its
            size; ``full`` decodes every file at its full size.
        resize: How an image of another size is fitted.
        resize_size: For ``center_crop``, the length of the shorter side before the crop, in pixels, as torchvision's
            ``Resize`` has it; None to scale until the crop just fits.
        interpolation: How its pixels are sampled.
        antialias: Smooth before shrinking, as Pillow does; for ``bilinear`` and ``bicubic``.
        mean: One per channel in the order of `color`, in units of 0..255; empty means zeros.
        std: The same, above zero; empty means ones.
        invert_light_background: Turn dark ink on a light background into light ink on a dark one.
        background: RGB, 0..255, behind transparent pixels and in letterbox bars.
        channels: Number of channels, 1 or 3, computed from `color`.
        shape: Shape of one item without the batch dimension, computed: [H, W, C] or [C, H, W] by `layout`.
    """

    height: int
    width: int
    color: Color = "RGB"
    dtype: Dtype = "uint8"
    layout: Layout = "NHWC"
    decoding: Decoding = "scaled"
    resize: Resize = "stretch"
    resize_size: int | None = None
    interpolation: Interpolation = "bilinear"
    antialias: bool = False
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
            CardError: A value is out of range, or two values contradict each other.
        """
        channels = 1 if self.color == "GRAY" else 3
        is_nchw = self.layout == "NCHW"
        shape = (channels, self.height, self.width) if is_nchw else (self.height, self.width, channels)
        object.__setattr__(self, "channels", channels)  # frozen
        object.__setattr__(self, "shape", shape)
        for side, pixels in (("height", self.height), ("width", self.width)):
            _check(1 <= pixels <= MAX_SIDE, f"input.{side}", f"an integer in 1..{MAX_SIDE}", pixels)
        per_channel = f"one number per channel of {self.color} ({channels}), or none"
        _check(len(self.mean) in {0, channels}, "input.mean", per_channel, self.mean)
        _check(len(self.std) in {0, channels}, "input.std", per_channel, self.std)
        means = f"numbers in -{UINT8_MAX}..{UINT8_MAX}, as pixels are in 0..{UINT8_MAX}"
        _check(all(abs(value) <= UINT8_MAX for value in self.mean), "input.mean", means, self.mean)
        in_range = all(MIN_STD <= value <= MAX_STD for value in self.std)
        _check(in_range, "input.std", f"numbers in {MIN_STD}..{MAX_STD}", self.std)
        _check_units(self.mean, self.std)
        in_range = all(0 <= value <= UINT8_MAX for value in self.background)
        _check(in_range, "input.background", "integers in 0..255", self.background)
        if self.dtype == "uint8" and (self.mean or self.std):
            raise _error("input.dtype", '"float32" if mean or std is set', self.dtype)
        if self.resize == "fit_ink" and self.color != "GRAY":
            raise _error("input.color", '"GRAY" if resize is "fit_ink"', self.color)
        self._check_fitting()

    def _check_fitting(self) -> None:
        if self.resize_size is not None:
            if self.resize != "center_crop":
                raise _error("input.resize", '"center_crop" if resize_size is set', self.resize)
            longer = max(self.height, self.width)
            expected = f"an integer in {longer}..{MAX_SIDE}, of which height and width are cropped"
            _check(longer <= self.resize_size <= MAX_SIDE, "input.resize_size", expected, self.resize_size)
        if self.antialias:
            if self.resize == "fit_ink":
                raise _error("input.antialias", 'false if resize is "fit_ink"', self.antialias)
            if self.interpolation not in ANTIALIASED:
                expected = f"{' or '.join(map(json.dumps, ANTIALIASED))} if antialias is true"
                raise _error("input.interpolation", expected, self.interpolation)

    @property
    def needs_schema_3(self) -> bool:
        """Whether earlier schemas cannot state this input."""
        added = any(getattr(self, name) != default for name, default in _ADDED_BY_SCHEMA_3.items())
        return added or self.resize == "crop_to_aspect_ratio" or self.interpolation == "nearest_exact"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """The output of ``serving_default`` that holds one score per label.

    Attributes:
        name: Key of the tensor in the signature.
        activation: Function that turns the scores into probabilities; ``none`` if they are probabilities already.
        confidence: Key of a second output, float[N] in 0..1, that is compared with `abstain_below`; None to compare the
            score of the best class.
    """

    name: str = "probabilities"
    activation: Activation = "none"
    confidence: str | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            CardError: A name is empty, or both outputs have the same one.
        """
        _check(self.name != "", "output.name", "the name of the output tensor", self.name)
        another = "the name of another output tensor"
        _check(self.confidence not in {"", self.name}, "output.confidence", another, self.confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Description of a model: its input, its output and where it comes from.

    Attributes:
        name: Name under which the model is served.
        labels: Label of each class, in the order of the output. Labels may repeat, as ImageNet's do.
        input: Model input.
        title: Display name; may be empty.
        description: A sentence or two; may be empty.
        task: ``multiclass``: exactly one label is correct. ``multilabel``: any number of labels.
        threshold: Lowest score, 0..1, at which a label counts as present: one for all, or one per label.
        abstain_below: For a multiclass model, the confidence, 0..1, below which its answer means "not sure"; None if it
            always answers.
        output: Model output.
        metrics: Measured quality, as JSON values by name.
        provenance: Architecture, data set, training configuration and licence, as JSON values by name.
    """

    name: str
    labels: tuple[str, ...]
    input: InputSpec
    title: str = ""
    description: str = ""
    task: Task = "multiclass"
    threshold: float | tuple[float, ...] = 0.5
    abstain_below: float | None = None
    output: OutputSpec = field(default_factory=OutputSpec)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            CardError: A value is out of range, or two values contradict each other.
        """
        _check(self.name != "", "name", "the name of the model", self.name)
        _check(len(self.labels) > 0, "labels", "at least one label", self.labels)
        _check(all(self.labels), "labels", "no empty labels", self.labels)
        thresholds = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,)
        _check(all(0 <= value <= 1 for value in thresholds), "threshold", "numbers in 0..1", self.threshold)
        if isinstance(self.threshold, tuple):
            one_each = f"one number, or one per label ({len(self.labels)})"
            _check(len(self.threshold) == len(self.labels), "threshold", one_each, self.threshold)
        self._check_abstention()
        if self.output.activation == "softmax" and (self.task == "multilabel" or len(self.labels) == 1):
            reason = 'if task is "multilabel"' if self.task == "multilabel" else "for one label"
            raise _error("output.activation", f'"sigmoid" or "none" {reason}', self.output.activation)

    def _check_abstention(self) -> None:
        if self.abstain_below is None:
            if self.output.confidence is not None:
                raise _error("abstain_below", "a number in 0..1 if output.confidence is set", None)
            return
        _check(0 <= self.abstain_below <= 1, "abstain_below", "a number in 0..1", self.abstain_below)
        if self.task == "multilabel":
            raise _error("abstain_below", 'none if task is "multilabel", which has threshold', self.abstain_below)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a card.

        Args:
            text: A JSON object; bytes are UTF-8. `name`, `labels`, `input.height` and `input.width` are required.
                A field that is absent or null has its default. White space around labels is removed.

        Raises:
            CardError: The text is not JSON, a field is missing, unknown, of the wrong type or out of range, or the
                schema number is another one.
        """
        document = _read_json(text)
        _check(isinstance(document, dict), "card", "a JSON object", document)
        schema = document.get("schema", SCHEMA)
        _check(schema is not True and schema in SCHEMAS, "schema", f"an integer in 1..{SCHEMA}", schema)
        if schema == 1:
            document = _abstention_of_metrics(document) | document
        return cls(**_arguments(cls, document, _CARD_PARSERS))

    def to_document(self) -> dict[str, Any]:
        """Return all members, with those of the input that are stated, by the names of the newest schema."""
        document = {"schema": SCHEMA} | dataclasses.asdict(self)
        document["input"] = {name: document["input"][name] for name in _INPUT_PARSERS}  # without computed fields
        return document

    def to_json(self) -> str:
        """Return the card as JSON from which `from_json` creates an equal card, in schema 2 if that has all of it.

        Raises:
            ValueError: `metrics` or `provenance` contain NaN or infinity, which JSON does not have.
            TypeError: They contain another value that JSON does not have.
        """
        document = self.to_document()
        if not self.input.needs_schema_3:
            document["schema"] = 2
            for name in _ADDED_BY_SCHEMA_3:
                del document["input"][name]
        return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)


_Parser: TypeAlias = Callable[[object, str], object]


def _arguments(
    cls: type[Any], document: Mapping[str, object], parsers: Mapping[str, _Parser], prefix: str = ""
) -> dict[str, Any]:
    """Return the constructor's arguments from `document`, each checked by its parser.

    Raises:
        CardError: A required field is missing, or a field is unknown or of the wrong type.
    """
    _reject_unknown(document, parsers, prefix)
    present = {key: value for key, value in document.items() if value is not None}
    for item in dataclasses.fields(cls):
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if item.init and required and item.name not in present:
            raise CardError(f"{prefix}{item.name}: is required but missing")
    return {key: parse(present[key], f"{prefix}{key}") for key, parse in parsers.items() if key in present}


def _abstention_of_metrics(document: Mapping[str, Any]) -> dict[str, object]:
    """Return the key that `train` wrote into the metrics of schema 1; nothing if its value is not usable."""
    metrics = document.get("metrics")
    value = metrics.get("abstain_below") if isinstance(metrics, dict) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return {"abstain_below": value} if is_number and document.get("task") != "multilabel" else {}


def _reject_unknown(document: Mapping[str, object], known: Mapping[str, object], prefix: str) -> None:
    for key in document:
        path = f"{prefix}{key}"
        if key not in known and path not in _OTHER_KEYS and not key.startswith(NOTES):
            where = f" in {prefix.rstrip('.')}" if prefix else ""
            raise CardError(f"card: unknown key{where}{_suggestion(key, prefix)}", f", found {_quote(key)}")


def _suggestion(key: str, prefix: str) -> str:
    """Return the question whether another key is meant; empty if none is near.

    It is what others call the same, the same key of another level, or the nearest of this level in spelling.
    """
    levels = {"": _CARD_PARSERS, "input.": _INPUT_PARSERS, "output.": _OUTPUT_PARSERS}
    elsewhere = {name: f"{level}{name}" for level, names in levels.items() for name in names}
    name = key.strip().lower().replace("-", "_")
    meant = _SYNONYMS.get(f"{prefix}{name}") or _SYNONYMS.get(name)
    if meant is None and name not in levels[prefix]:
        meant = elsewhere.get(name)
    if meant is None:
        near = difflib.get_close_matches(name, [*levels[prefix], *_SYNONYMS], n=1)
        meant = next((_SYNONYMS.get(match, f"{prefix}{match}") for match in near), None)
    return f" (did you mean {meant}?)" if meant else f"; a note begins with {_quote(NOTES[0])}"


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


def _choice(choices: tuple[str, ...]) -> _Parser:
    expected = "one of " + ", ".join(map(json.dumps, choices))

    def parse(value: object, path: str) -> object:
        _check(value in choices, path, expected, value)
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


def _labels(value: object, path: str) -> object:
    """Parse labels without white space around them, such as the line ends of a file that they were read from."""
    return tuple(str(label).strip(_BLANKS) for label in cast("tuple[object, ...]", _tuple_of(_text)(value, path)))


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
    "decoding": _choice(get_args(Decoding)),
    "resize": _choice(get_args(Resize)),
    "resize_size": _integer,
    "interpolation": _choice(get_args(Interpolation)),
    "antialias": _boolean,
    "mean": _tuple_of(_number),
    "std": _tuple_of(_number),
    "invert_light_background": _boolean,
    "background": _rgb,
}

_OUTPUT_PARSERS: Mapping[str, _Parser] = {
    "name": _text,
    "activation": _choice(get_args(Activation)),
    "confidence": _text,
}

_CARD_PARSERS: Mapping[str, _Parser] = {
    "name": _text,
    "labels": _labels,
    "input": _input,
    "title": _text,
    "description": _text,
    "task": _choice(get_args(Task)),
    "threshold": _number_or_numbers,
    "abstain_below": _number,
    "output": _output,
    "metrics": _mapping,
    "provenance": _mapping,
}


_BLANKS = f"{string.whitespace}\ufeff"
"""What is removed around a label; U+FEFF starts files that some editors write."""

_OTHER_KEYS = frozenset({"schema", "input.name"})
"""Keys that are read elsewhere, or were written by early releases of `train` and mean nothing."""

_SYNONYMS: Mapping[str, str] = {
    "classes": "labels",
    "class_names": "labels",
    "shape": "input.height and input.width",
    "size": "input.height and input.width",
    "image_size": "input.height and input.width",
    "channels": "input.color",
    "data_format": "input.layout",
    "crop": "input.resize",
    "crop_size": "input.height and input.width",
    "crop_pct": "input.resize_size",
    "shortest_edge": "input.resize_size",
    "range": "input.mean and input.std",
    "rescale": "input.std",
    "type": "task",
    "input.type": "input.dtype",
    "output.type": "output.activation",
    "normalization": "input.mean and input.std",
    "scale": "input.std",
    "abstain_threshold": "abstain_below",
    "confidence_threshold": "abstain_below",
    "min_confidence": "abstain_below",
    "min_score": "abstain_below",
}
"""What other tools call the same; paths by such a name, or by the path of one that means this only there."""


def _read_json(text: str | bytes) -> Any:  # JSON
    """Read JSON in which no key is repeated.

    Raises:
        CardError: It is not JSON; the message says where.
    """
    try:
        return json.loads(text, parse_constant=_reject_constant, object_pairs_hook=_reject_repeated)
    except CardError:
        raise
    except json.JSONDecodeError as error:
        if not error.doc.strip():
            raise CardError("card: expected JSON, found an empty file") from error
        line = error.doc.split("\n")[error.lineno - 1]
        where = f"line {error.lineno}, column {error.colno}"
        raise CardError(f"card: expected JSON, found a fault in {where}", f": {_quote(line)}") from error
    except UnicodeDecodeError as error:
        raise CardError("card: expected JSON in UTF-8, found other bytes") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists in thousands of lists
        raise CardError("card: expected JSON, found a number that is too long or lists nested too deeply") from error


def _reject_constant(name: str) -> NoReturn:
    raise CardError("card: expected JSON, which has no NaN and no Infinity", f", found {name}")


def _reject_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        counts = Counter(key for key, _ in pairs if not key.startswith(NOTES))
        for key in (key for key, count in counts.items() if count > 1):
            known = {*_CARD_PARSERS, *_INPUT_PARSERS, *_OUTPUT_PARSERS}
            raise CardError(f"card: a key occurs twice{f' ({key})' if key in known else ''}", f", found {_quote(key)}")
    return document


def _check(condition: bool, path: str, expected: str, value: object) -> None:  # noqa: FBT001  # reads as an assertion
    if not condition:
        raise _error(path, expected, value)


def _error(path: str, expected: str, value: object) -> CardError:
    return CardError(f"{path}: expected {expected}", f", found {_quote(value)}")


def _check_units(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Reject numbers in units of 0..1, as most model pages print them: of pixels in 0..255 they leave no image.

    Raises:
        CardError: A mean or a standard deviation is in units of 0..1; the message has the numbers to write instead.
    """
    is_small_mean = any(mean) and all(abs(value) <= 1 for value in mean)
    is_small_std = any(value < 1 for value in std)
    if not is_small_mean and not is_small_std:
        return
    if std and all(value < MAX_FACTOR for value in std):
        right_std = [1 / value for value in std]
    else:
        is_scale = is_small_std or all(value == 1 for value in std)  # of pixels in 0..1
        right_std = [UINT8_MAX * value if is_scale else value for value in std or (1,) * len(mean)]
    lists = [f'"std": {_plain(right_std)}']
    if mean:
        is_offset = all(abs(value) == 1 for value in mean)  # of pixels that were scaled before, as in x / 127.5 - 1
        factors = right_std if is_offset else [UINT8_MAX if is_small_mean else 1] * len(mean)
        right_mean = [abs(value) if is_offset else value for value in mean]
        lists.insert(
            0, f'"mean": {_plain([value * factor for value, factor in zip(right_mean, factors, strict=True)])}'
        )
    path, values = ("input.std", std) if is_small_std else ("input.mean", mean)
    numbers = " and ".join(lists)
    raise _error(path, f"numbers in units of 0..255; multiply numbers for 0..1 by 255 and write {numbers}", values)


def _plain(values: Sequence[float]) -> str:
    """Format numbers as a JSON list, rounded to what matters."""
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"


def _quote(value: object) -> str:
    """Format a value as a card has it, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"
