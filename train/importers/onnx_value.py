"""Values in the graph of an ONNX model while it is translated to TensorFlow.

ONNX has the channels of an image first, TensorFlow's convolutions on processors have them last. Feature maps are
therefore kept channels last from the first convolution on, and only the axes in attributes are translated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Tensor: TypeAlias = Any
"""Any, because TensorFlow publishes no types; constants are arrays of numpy."""

BATCH = 1_000_003
"""Stands for the length of the batch in shapes: a prime that no other length is a multiple of."""
IMAGE_RANK = 4
TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
AXES_LAST = {0: 0, 1: 3, 2: 1, 3: 2}
"""Axis of a tensor that is stored channels last, by the axis in ONNX."""


@dataclass(frozen=True, slots=True)
class Value:
    """An array or tensor.

    Attributes:
        tensor: A tensor of TensorFlow, or a constant as an array of numpy.
        channels_last: Whether what ONNX sees as [N, C, H, W] is stored as [N, H, W, C].
        is_nonnegative: Whether no number is below zero, as after ReLU, so that padding with zeros changes no maximum.
    """

    tensor: Tensor
    channels_last: bool = False
    is_nonnegative: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether the value is known before any image."""
        return isinstance(self.tensor, np.ndarray | np.generic)

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.tensor.shape)

    @property
    def shape(self) -> list[int]:
        """The shape as ONNX sees it, with `BATCH` for the batch.

        Raises:
            ValueError: More than one length is not fixed.
        """
        shape = list(self.tensor.shape)
        if self.channels_last:
            shape = [shape[axis] for axis in TO_FIRST]
        if shape.count(None) > 1:
            raise ValueError(f"a shape of {shape} is not known before an image comes")
        return [BATCH if size is None else int(size) for size in shape]

    def axis(self, axis: int) -> int:
        """Return where an axis of ONNX is stored."""
        axis = int(axis) % self.rank
        return AXES_LAST[axis] if self.channels_last else axis

    def to_last(self) -> Tensor:
        """Return an image [N, C, H, W] as [N, H, W, C]."""
        if self.channels_last:
            return self.tensor
        return self.tensor.transpose(TO_LAST) if self.is_constant else tf.transpose(self.tensor, TO_LAST)

    def plain(self) -> Tensor:
        """Return the tensor with its dimensions as ONNX sees them."""
        if not self.channels_last:
            return self.tensor
        if list(self.tensor.shape[1:3]) == [1, 1]:
            return tf.reshape(self.tensor, (-1, self.tensor.shape[3], 1, 1))
        return tf.transpose(self.tensor, TO_FIRST)

    def like(self, tensor: Tensor, *, is_nonnegative: bool = False) -> "Value":
        """Return another value that is stored in the same order."""
        return Value(tensor, self.channels_last, is_nonnegative)

    def numbers(self) -> list[int]:
        """Return a constant of integers as a list.

        Raises:
            ValueError: It depends on the image.
        """
        if not self.is_constant:
            raise ValueError("a shape or an axis depends on the image")
        return [int(number) for number in np.asarray(self.tensor).ravel()]


def widen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return float16 as float32, in which processors compute faster."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def align(values: Sequence[Value]) -> tuple[list[Tensor], bool]:
    """Return tensors that can be combined element by element, and whether they are channels last."""
    if not any(value.channels_last for value in values):
        return [value.tensor for value in values], False
    if any(value.rank > IMAGE_RANK or (value.rank != IMAGE_RANK and not value.is_constant) for value in values):
        return [value.plain() for value in values], False
    return [_broadcastable(value) for value in values], True


def _broadcastable(value: Value) -> Tensor:
    """Return a value for element-by-element operations with tensors that are stored channels last."""
    if value.rank == IMAGE_RANK:
        return value.to_last()
    if value.tensor.size == 1:
        return value.tensor.reshape(())
    array: npt.NDArray[Any] = value.tensor.reshape((1,) * (IMAGE_RANK - value.rank) + value.tensor.shape)
    return array.transpose(TO_LAST)
