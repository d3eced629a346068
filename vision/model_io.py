"""How an image becomes the input of a model, and which of its outputs holds the scores.

Models for the same task are exported with many signatures: [N, 28, 28] or [N, 784] for a gray image, encoded images,
[N, 1, 1, C] or a single number for scores. These rules decide what fits a card, and say for everything else why it does
not and what helps. The gateway and `train` share them.

Nothing but the exact rank, shape and element type of a signature may be sent: TensorFlow Serving checks none of them,
and a wrong rank ends its process.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from vision.card import Card, InputSpec, OutputSpec
from vision.postprocess import BINARY

Shape: TypeAlias = tuple[int | None, ...] | None
"""Length of each dimension, None for any length; None if the rank is not fixed either."""

STRING = "string"
FLOATS = ("float32", "float16", "float64")
INTEGERS = ("uint8", "int32", "int64", "int8", "int16", "uint16", "uint32", "uint64")
CHANNELS = (1, 3)
IMAGE_RANK = 3
DEFAULT_OUTPUT = OutputSpec().name
"""Name of the output in a card that leaves it open."""
SCORE_NAMES = ("prob", "pred", "softmax", "sigmoid", "score")
"""Parts of the names that exporters give to probabilities, unlike `logits` and `embedding`."""


class UnusableModelError(ValueError):
    """A model does not fit its card, or no card makes it usable; the message says why and what to do."""


class SeveralOutputsError(UnusableModelError):
    """Several outputs may hold the scores, and the card must name one.

    Attributes:
        candidates: Their names.
    """

    def __init__(self, message: str, candidates: Sequence[str]) -> None:
        super().__init__(message)
        self.candidates = candidates


class Tensor(Protocol):
    """An input or output of a signature."""

    @property
    def dtype(self) -> str:
        """Name of the element type, as numpy names it; `string` for bytes."""

    @property
    def shape(self) -> Shape:
        """Shape with the batch dimension."""


@dataclass(frozen=True, slots=True)
class InputEncoder:
    """Turns a prepared image into one row of a model's input.

    Attributes:
        dtype: Element type of the input; `string` for encoded images.
        shape: Shape of one row.
    """

    dtype: str
    shape: tuple[int, ...]

    def encode(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the row, without a copy if possible.

        Args:
            pixels: What `vision.preprocess.preprocess` returned. It becomes a PNG file if the model takes encoded
                images.
        """
        if self.dtype != STRING:
            return pixels.reshape(self.shape).astype(self.dtype, copy=False)
        _, png = cv2.imencode(".png", pixels[..., ::-1])  # OpenCV takes the channels as BGR
        row = np.empty(self.shape, object)
        row[...] = png.tobytes()
        return row


def to_text(tensor: Tensor) -> str:
    """Format element type and shape as in `uint8[N, 28, 28, 1]`."""
    shape = tensor.shape
    dimensions = "…" if shape is None else ", ".join("N" if size is None else str(size) for size in shape)
    return f"{tensor.dtype}[{dimensions}]"


def fit_input(card: Card, tensor: Tensor, *, allow_pixels_as_floats: bool = False) -> InputEncoder:
    """Return what turns an image that is prepared for a card into a model's input.

    Args:
        card: Card of the model.
        tensor: Its input.
        allow_pixels_as_floats: Whether a card of uint8 fits an input of floating-point numbers, which then hold 0..255.

    Raises:
        UnusableModelError: The card does not describe this input, or no card can.
    """
    require_image_input(tensor)
    spec, row = card.input, None if tensor.shape is None else tensor.shape[1:]
    if tensor.dtype == STRING:
        if spec.dtype != "uint8" or spec.layout != "NHWC":
            raise UnusableModelError(
                f'The input {to_text(tensor)} takes encoded images, which hold 0..255. Write "dtype": "uint8" in the '
                "card's input, without layout, mean and std."
            )
        return InputEncoder(STRING, (1,) * len(row or ()))
    if not allow_pixels_as_floats or tensor.dtype not in FLOATS:
        _require_value_range(spec, tensor)
    shape = spec.shape if row is None else _fit_shape(spec.shape, row)
    if shape is None:
        members = json.dumps(guess_image(tensor, (spec.height, spec.width)))[1:-1]
        raise UnusableModelError(
            f"The card describes {spec.dtype}{[*spec.shape]} for one image; the input takes {to_text(tensor)}. Write "
            f"{members} in the card's input."
        )
    return InputEncoder(tensor.dtype, shape)


def fit_output(card: Card, tensor: Tensor) -> Shape:
    """Return the shape in which an output holds the scores of one image, as far as the signature tells.

    A length is None if there may be one score for two labels or one each, and the shape is None if any may come.

    Raises:
        UnusableModelError: The output does not hold the scores that the card describes.
    """
    require_scores(tensor)
    labels, text = len(card.labels), to_text(tensor)
    if tensor.shape is None:
        return None
    is_binary = labels == BINARY and card.task == "multiclass"
    row = tensor.shape[1:]
    scores = count_scores(tensor)
    if scores == 1 and is_binary:
        if card.output.activation == "softmax":
            raise UnusableModelError(
                f'The output {text} is one score for two labels, of which softmax is always 1. Write "output": '
                '{"activation": "sigmoid"} in the card, or "none" if it is a probability.'
            )
    elif scores == labels == 1 and card.task == "multiclass":
        raise UnusableModelError(
            f"The output {text} is one score, which always is the highest of one label. Write two labels, of which the "
            'second has this score, or "task": "multilabel".'
        )
    elif scores not in {None, labels}:
        hint = ' One score for two labels needs "task": "multiclass".' if (scores, labels) == (1, BINARY) else ""
        raise UnusableModelError(
            f"The card has {labels} labels; the output {text} holds {scores} score{'s' if scores != 1 else ''}. Write "
            f"one label per score.{hint}"
        )
    open_size = None if is_binary else labels
    return tuple(open_size if size is None else size for size in row)


def choose_output(outputs: Mapping[str, Tensor], card: Card | None) -> str:
    """Return the name of the output that holds the scores.

    It is the one that the card names or the only one. If a card leaves the name open, it is the only one that fits, or
    the only one of these with a name such as `probabilities`.

    Raises:
        UnusableModelError: There is no such output, or the card must say which it is.
    """
    if card is not None and card.output.name in outputs:
        return card.output.name
    if len(outputs) == 1:
        return next(iter(outputs))
    outputs = dict(sorted(outputs.items()))  # a signature has them in any order, another one in each process
    listed = _list(outputs)
    if card is not None and outputs and card.output.name != DEFAULT_OUTPUT:
        raise UnusableModelError(
            f"The card names the output {json.dumps(card.output.name)}; its outputs are {listed}. Correct output.name."
        )
    fitting = [name for name, tensor in outputs.items() if _holds_scores(tensor, card)]
    named = [name for name in fitting if any(part in name.lower() for part in SCORE_NAMES)]
    for names in (fitting, named):
        if len(names) == 1:
            return names[0]
    if not fitting:
        raise _none_fits(outputs, card, listed)
    raise SeveralOutputsError(
        f"Its outputs are {listed}. Name the one that holds one score per class in the card, such as "
        f'"output": {{"name": {json.dumps(fitting[0])}}}.',
        fitting,
    )


def require_confidence(card: Card, outputs: Mapping[str, Tensor]) -> None:
    """Check the output that a card names as `output.confidence`, if it does.

    Raises:
        UnusableModelError: There is no such output, or it does not hold one floating-point number per image.
    """
    name = card.output.confidence
    if name is None:
        return
    if name not in outputs:
        listed = _list(dict(sorted(outputs.items())))
        raise UnusableModelError(
            f"The card names the output {json.dumps(name)}; its outputs are {listed}. Correct output.confidence."
        )
    tensor = outputs[name]
    if tensor.dtype not in FLOATS or (
        tensor.shape is not None and math.prod(size or 1 for size in tensor.shape[1:]) != 1
    ):
        raise UnusableModelError(
            f"The output {to_text(tensor)} is not one number per image, as output.confidence requires: float32[N]."
        )


def _none_fits(outputs: Mapping[str, Tensor], card: Card | None, listed: str) -> UnusableModelError:
    """Return why no output holds the scores: what is wrong in the card or, if no card helps, in all outputs."""
    for tensor in outputs.values():
        if card is not None and _holds_scores(tensor, None):
            try:
                fit_output(card, tensor)
            except UnusableModelError as error:
                return error
    return UnusableModelError(
        f"None of its outputs ({listed}) holds one score per class. {_export_anew('scores, float32[N, classes]')}"
    )


def require_one_input(inputs: Mapping[str, Tensor]) -> str:
    """Return the name of the only input.

    Raises:
        UnusableModelError: There is another number of inputs.
    """
    if len(inputs) != 1:
        raise UnusableModelError(
            f"It takes {len(inputs)} inputs ({_list(inputs)}); an image classifier takes one. "
            f"{_export_anew('the image as its only input and the others fixed')}"
        )
    return next(iter(inputs))


def require_image_input(tensor: Tensor) -> None:
    """Refuse an input that no card makes usable.

    Raises:
        UnusableModelError: It does not take images of 1 or 3 channels in batches of any size or of 1.
    """
    shape, text = tensor.shape, f"The input {to_text(tensor)}"
    if tensor.dtype not in {*FLOATS, *INTEGERS, STRING}:
        raise UnusableModelError(f"{text} does not take pixels. {_export_anew('a float32 or uint8 input')}")
    if shape is None:
        return
    if not shape or shape[0] not in {None, 1}:
        is_batch = len(shape) > IMAGE_RANK
        what = f"takes batches of exactly {shape[0]} images" if is_batch else "has no batch dimension"
        raise UnusableModelError(f"{text} {what}. {_export_anew('None as the first dimension of its input')}")
    row = [size for size in shape[1:] if size != 1]
    if tensor.dtype == STRING:
        if any(size is not None for size in row):
            raise UnusableModelError(f"{text} does not take one encoded image. {_export_anew('an input string[N]')}")
    elif not 0 < len(row) <= IMAGE_RANK:
        raise UnusableModelError(
            f"{text} does not take images of height, width and channels. "
            f"{_export_anew('an input [N, height, width, channels]')}"
        )
    elif len(row) == IMAGE_RANK and not {None, *CHANNELS} & {*(channels := _find_channels(row))}:
        count = min(size for size in channels if size is not None)
        raise UnusableModelError(
            f"{text} has {count} channels; images are sent with 1 (gray) or 3 (RGB). "
            f"{_export_anew('an input of 1 or 3 channels')}"
        )


def _find_channels(row: Sequence[int | None]) -> Sequence[int | None]:
    """Return the first and the last length of an image; if only one of all is not open, it is that of the channels."""
    ends = (row[0], row[-1])
    return [size for size in ends if size is not None] if row[1] is None and ends.count(None) == 1 else ends


def require_scores(tensor: Tensor) -> None:
    """Refuse an output that cannot hold one score per class.

    Raises:
        UnusableModelError: It holds class numbers or names, has no batch dimension or more than one of classes.
    """
    shape, text = tensor.shape, f"The output {to_text(tensor)}"
    wanted = _export_anew("one score per class, float32[N, classes]")
    if "float" not in tensor.dtype:
        kind = "text, such as class names" if tensor.dtype == STRING else "whole numbers, such as class numbers"
        raise UnusableModelError(f"{text} holds {kind}, not scores. {wanted}")
    if shape is None:
        return
    if not shape or shape[0] not in {None, 1}:
        raise UnusableModelError(f"{text} has no batch dimension. {wanted}")
    if sum(size != 1 for size in shape[1:]) > 1:
        raise UnusableModelError(f"{text} does not hold one score per class. {wanted}")


def count_scores(tensor: Tensor) -> int | None:
    """Return how many scores an output that `require_scores` accepts holds for an image; None if that is open."""
    if tensor.shape is None or None in tensor.shape[1:]:
        return None
    return math.prod(size or 1 for size in tensor.shape[1:])


def guess_image(tensor: Tensor, open_size: tuple[int, int]) -> dict[str, Any]:
    """Return height, width, color and layout, as in a card, that fit an input which `require_image_input` accepts.

    Args:
        tensor: The input.
        open_size: Height and width if the input leaves them open.

    Returns:
        The keys that differ from a card's defaults.
    """
    size = {"height": open_size[0], "width": open_size[1]}
    if tensor.dtype == STRING or tensor.shape is None:
        return size
    row = [length for length in tensor.shape[1:] if length != 1]
    is_gray = len(row) < IMAGE_RANK
    if len(row) == 1:
        return _guess_flat(row[0]) if row[0] is not None else size
    is_nchw = not is_gray and row[-1] not in CHANNELS and (row[0] in CHANNELS or row[-1] is not None)
    sides = row if is_gray else row[1:] if is_nchw else row[:-1]
    image: dict[str, Any] = {
        name: length or default for (name, default), length in zip(size.items(), sides, strict=True)
    }
    return image | ({"color": "GRAY"} if is_gray else {}) | ({"layout": "NCHW"} if is_nchw else {})


def _guess_flat(count: int) -> dict[str, Any]:
    """Return the size of a gray or RGB image, square if possible, that has so many numbers."""
    for channels in CHANNELS:
        side = math.isqrt(count // channels)
        if channels * side * side == count:
            return {"height": side, "width": side} | ({"color": "GRAY"} if channels == 1 else {})
    height = next(side for side in range(math.isqrt(count), 0, -1) if count % side == 0)
    return {"height": height, "width": count // height, "color": "GRAY"}


def _fit_shape(image: tuple[int, ...], row: tuple[int | None, ...]) -> tuple[int, ...] | None:
    """Return the shape of the row that holds the pixels of an image in their order; None if there is none.

    It is the image's own shape, the same with dimensions of length 1 left out or added, or a flat one.
    """
    if _matches(row, image):
        return image
    if len(row) == 1 and row[0] in {None, math.prod(image)}:
        return (math.prod(image),)
    sizes = [size for size in image if size != 1]
    if not _matches([size for size in row if size != 1], sizes):
        return None
    remaining = iter(sizes)
    return tuple(1 if size == 1 else next(remaining) for size in row)


def _matches(pattern: Sequence[int | None], sizes: Sequence[int]) -> bool:
    return len(pattern) == len(sizes) and all(
        expected in {None, size} for expected, size in zip(pattern, sizes, strict=True)
    )


def _require_value_range(spec: InputSpec, tensor: Tensor) -> None:
    """Refuse a card whose numbers the element type of an input cannot hold.

    Raises:
        UnusableModelError: The card says uint8 for floating-point numbers, or its mean and std make fractions or
            numbers out of range for an integer type.
    """
    text = f"The input {to_text(tensor)}"
    if tensor.dtype in FLOATS:
        if spec.dtype == "uint8":
            std = json.dumps([255] * spec.channels)
            raise UnusableModelError(
                f'{text} takes floating-point numbers. Write "dtype": "float32" in the card\'s input, with "std": '
                f"{std} if the model expects 0..1, or without mean and std if it expects 0..255."
            )
        return
    limits = np.iinfo(tensor.dtype)
    is_whole = all(value.is_integer() for value in map(float, spec.mean)) and set(spec.std) <= {1.0}
    means = spec.mean or (0.0,)
    if not is_whole or -max(means) < limits.min or 255 - min(means) > limits.max:
        mean = json.dumps([128] * spec.channels)
        better = f'"dtype": "float32", "mean": {mean}' if tensor.dtype == "int8" else '"dtype": "uint8"'
        raise UnusableModelError(
            f"{text} takes whole numbers from {limits.min} to {limits.max}; the card's dtype, mean and std give "
            f"others. Write {better} in its input, without std."
        )


def _holds_scores(tensor: Tensor, card: Card | None) -> bool:
    try:
        if card is not None:
            fit_output(card, tensor)
        require_scores(tensor)
    except UnusableModelError:
        return False
    return True


def _list(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {to_text(tensor)}" for name, tensor in sorted(tensors.items())) or "none"


def _export_anew(what: str) -> str:
    return f"No card helps: export the model again with {what}."
