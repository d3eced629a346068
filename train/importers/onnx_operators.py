"""Operators of ONNX in TensorFlow, those of image classifiers without the ones that look at neighbouring pixels.

Source: https://github.com/onnx/onnx, docs/Operators.md, versions 7 to 21. Versions of an operator differ mostly in
whether a number is an attribute or an input; both are read.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from train.importers.onnx_value import BATCH, TO_FIRST, TO_LAST, Tensor, Value, align, widen
from train.weights.onnx_file import DTYPES, OnnxNode

SOFTMAX_OF_ONE_AXIS = 13
"""Version from which softmax is over one axis; before, over all axes from one on."""
MAX_END = 2**31 - 1
"""Ends of slices from here on mean the end of the dimension."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of an operator.

    Attributes:
        node: The node.
        inputs: The inputs; None for one that is left out.
        opset: Version of the operators.
        batch: Length of the batch, an integer tensor.
    """

    node: OnnxNode
    inputs: Sequence[Value | None]
    opset: int
    batch: Tensor

    @property
    def x(self) -> Value:
        """The first input."""
        return self.required(0)

    def required(self, index: int) -> Value:
        """Return an input that must be there.

        Raises:
            ValueError: It is not.
        """
        value = self.optional(index)
        if value is None:
            raise ValueError(f"the input {index} is missing")
        return value

    def optional(self, index: int) -> Value | None:
        """Return an input, or None."""
        return self.inputs[index] if index < len(self.inputs) else None

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.node.attributes.get(name, default)

    def integers(self, name: str, index: int) -> list[int] | None:
        """Return a list that is an attribute or a constant input; None if it is neither."""
        value = self.optional(index)
        if value is not None:
            return value.numbers()
        attribute = self.attribute(name)
        return None if attribute is None else [int(number) for number in np.ravel(attribute)]

    def number(self, name: str, index: int) -> float | None:
        """Return a number that is an attribute or a constant input; None if it is neither."""
        value = self.optional(index)
        if value is None:
            return None if self.attribute(name) is None else float(self.attribute(name))
        if not value.is_constant:
            raise ValueError(f"{name} depends on the image")
        return float(value.tensor)

    def dynamic(self, shape: Sequence[int]) -> Sequence[Any]:
        """Return a shape for TensorFlow, in which `BATCH` is the length of the batch."""
        return [self.batch * (size // BATCH) if size and size % BATCH == 0 else size for size in shape]


Operator: TypeAlias = Callable[[Call], Value | list[Value]]


def unary(function: Callable[[Tensor], Tensor], *, is_nonnegative: bool = False) -> Operator:
    """Return an operator that changes each element."""
    return lambda call: call.x.like(function(call.x.tensor), is_nonnegative=is_nonnegative)


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """Return an operator that combines elements of two or more inputs."""

    def apply(call: Call) -> Value:
        tensors, channels_last = align([value for value in call.inputs if value is not None])
        return Value(functools.reduce(function, tensors), channels_last)

    return apply


def _divide(x: Tensor, y: Tensor) -> Tensor:
    return x // y if tf.as_dtype(x.dtype).is_integer else x / y


def _identity(call: Call) -> Value:
    return call.x


def _leaky_relu(call: Call) -> Value:
    return call.x.like(tf.nn.leaky_relu(call.x.tensor, call.attribute("alpha", 0.01)))


def _elu(call: Call) -> Value:
    x, alpha = call.x.tensor, call.attribute("alpha", 1.0)
    return call.x.like(tf.where(x > 0, x, alpha * (tf.exp(tf.minimum(x, 0)) - 1)))


def _hard_sigmoid(call: Call) -> Value:
    alpha, beta = call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    return call.x.like(_ramp(call.x.tensor, alpha, beta))


def _hard_swish(call: Call) -> Value:
    return call.x.like(call.x.tensor * _ramp(call.x.tensor, 1 / 6, 0.5))


def _ramp(x: Tensor, slope: float, offset: float) -> Tensor:
    """Return the line `slope` x + `offset`, cut to 0..1; as ReLU6 where that is possible, which compilers know."""
    if np.isclose(slope, 1 / 6) and np.isclose(offset, 1 / 2):
        return tf.nn.relu6(x + 3) * (1 / 6)
    return tf.clip_by_value(slope * x + offset, 0, 1)


def _gelu(call: Call) -> Value:
    return call.x.like(tf.nn.gelu(call.x.tensor, approximate=call.attribute("approximate", "none") == "tanh"))


def _clip(call: Call) -> Value:
    x, low, high = call.x.tensor, call.number("min", 1), call.number("max", 2)
    if (low, high) == (0, 6):
        return call.x.like(tf.nn.relu6(x), is_nonnegative=True)
    if low is not None:
        x = tf.nn.relu(x) if low == 0 else tf.maximum(x, tf.cast(low, x.dtype))
    if high is not None:
        x = tf.minimum(x, tf.cast(high, x.dtype))
    return call.x.like(x, is_nonnegative=low is not None and low >= 0)


def _prelu(call: Call) -> Value:
    (x, slope), channels_last = align([call.x, call.required(1)])
    return Value(tf.nn.relu(x) - slope * tf.nn.relu(-x), channels_last)


def _cast(call: Call) -> Value:
    dtype = DTYPES[call.attribute("to")]
    return call.x.like(tf.cast(call.x.tensor, "float32" if dtype == "float16" else dtype))  # as `widen`


def _constant(call: Call) -> Value:
    for name, dtype in {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32}.items():
        if call.attribute(name) is not None:
            return Value(np.array(call.attribute(name), dtype))
    return Value(widen(np.asarray(call.attribute("value", np.array(call.attribute("value_floats", []), np.float32)))))


def _constant_of_shape(call: Call) -> Value:
    fill = call.attribute("value", np.zeros(1, np.float32))
    return Value(tf.fill(call.dynamic(call.x.numbers()), tf.constant(fill.ravel()[0])))


def _shape(call: Call) -> Value:
    return Value(np.array(call.x.shape[call.attribute("start", 0) : call.attribute("end")], np.int64))


def _expand(call: Call) -> Value:
    x, target = call.x.plain(), call.required(1).numbers()
    shape = np.broadcast_shapes(tuple(Value(x).shape), tuple(target))
    return Value(tf.broadcast_to(x, call.dynamic(shape)))


def _tile(call: Call) -> Value:
    return Value(tf.tile(call.x.plain(), call.dynamic(call.required(1).numbers())))


def _range(call: Call) -> Value:
    return Value(tf.range(*(call.required(index).tensor for index in range(3))))


def _where(call: Call) -> Value:
    tensors, channels_last = align([call.required(index) for index in range(3)])
    return Value(tf.where(*tensors), channels_last)


def _gather(call: Call) -> Value:
    x, indices, axis = call.x.plain(), call.required(1).plain(), call.attribute("axis", 0)
    length = tf.cast(tf.shape(x)[axis], indices.dtype)
    return Value(tf.gather(x, tf.where(indices < 0, indices + length, indices), axis=axis))


def _concat(call: Call) -> Value:
    values = [value for value in call.inputs if value is not None]
    channels_last = any(value.channels_last for value in values)
    tensors = [value.to_last() if channels_last else value.tensor for value in values]
    axis = Value(tensors[0], channels_last).axis(call.attribute("axis"))
    return Value(tf.concat(tensors, axis), channels_last, all(value.is_nonnegative for value in values))


def _split(call: Call) -> list[Value]:
    axis, count = call.x.axis(call.attribute("axis", 0)), len(call.node.outputs)
    sizes = call.integers("split", 1)
    if sizes is None:
        length = call.x.tensor.shape[axis]
        each = -(-length // count)
        sizes = [min(each, length - start) for start in range(0, length, each)]
    return [call.x.like(part) for part in tf.split(call.x.tensor, sizes, axis)]


def _slice(call: Call) -> Value:
    starts, ends = call.integers("starts", 1) or [], call.integers("ends", 2) or []
    axes = call.integers("axes", 3) or list(range(len(starts)))
    steps = call.integers("steps", 4) or [1] * len(starts)
    slices = [slice(None)] * call.x.rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        first = None if step < 0 and start >= MAX_END else start
        slices[call.x.axis(axis)] = slice(first, None if abs(end) >= MAX_END else end, step)
    return call.x.like(call.x.tensor[tuple(slices)])


def _squeeze(call: Call) -> Value:
    shape = call.x.shape
    axes = call.integers("axes", 1)
    dropped = {axis % len(shape) for axis in axes} if axes else {i for i, size in enumerate(shape) if size == 1}
    return _reshaped(call.x, [size for axis, size in enumerate(shape) if axis not in dropped])


def _unsqueeze(call: Call) -> Value:
    shape, axes = call.x.shape, call.integers("axes", 1) or []
    rank = len(shape) + len(axes)
    added, rest = {axis % rank for axis in axes}, iter(shape)
    return _reshaped(call.x, [1 if axis in added else next(rest) for axis in range(rank)])


def _flatten(call: Call) -> Value:
    shape, axis = call.x.shape, call.attribute("axis", 1)
    return _reshaped(call.x, [int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))])


def _reshape(call: Call) -> Value:
    shape, target = call.x.shape, call.required(1).numbers() if call.optional(1) else list(call.attribute("shape"))
    if not call.attribute("allowzero", 0):
        target = [shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    total = int(np.prod(shape))
    if target[:1] == [1] and shape[:1] == [BATCH]:  # exported for one image
        target[0] = BATCH
    if -1 in target:
        target[target.index(-1)] = total // -int(np.prod(target))
    return _reshaped(call.x, target)


def _reshaped(value: Value, shape: Sequence[int]) -> Value:
    """Return a value in another shape, in which `BATCH` is the length of the batch."""
    if sum(size % BATCH == 0 and size > 0 for size in shape) > 1:
        raise ValueError(f"a shape of {[*shape]} has the batch in several dimensions")
    sizes = [-1 if size and size % BATCH == 0 else size for size in shape]
    if value.is_constant:
        return Value(np.reshape(value.tensor, shape))
    return Value(tf.reshape(value.plain(), sizes), is_nonnegative=value.is_nonnegative)


def _transpose(call: Call) -> Value:
    x, order = call.x, tuple(call.attribute("perm", range(call.x.rank)[::-1]))
    if x.channels_last and order == TO_LAST:
        return Value(x.tensor)
    if order == TO_FIRST and not x.is_constant and not x.channels_last:
        return Value(x.tensor, channels_last=True)
    return Value(tf.transpose(x.plain(), order))


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def apply(call: Call) -> Value:
        x, axes, keep = call.x, call.integers("axes", 1), bool(call.attribute("keepdims", 1))
        logical = sorted(axis % x.rank for axis in (range(x.rank) if axes is None else axes))
        if x.channels_last and not keep and logical not in ([2, 3], [1], [1, 2, 3]):
            return Value(function(x.plain(), axis=logical, keepdims=keep))
        physical = [x.axis(axis) for axis in logical]
        return Value(function(x.tensor, axis=physical, keepdims=keep), x.channels_last and keep)

    return apply


def _softmax(function: Callable[..., Tensor]) -> Operator:
    def apply(call: Call) -> Value:
        x, by_one_axis = call.x, call.opset >= SOFTMAX_OF_ONE_AXIS
        axis = call.attribute("axis", -1 if by_one_axis else 1) % x.rank
        long = [index for index, size in enumerate(x.shape) if index >= axis and size != 1]
        if by_one_axis or len(long) <= 1:
            return x.like(function(x.tensor, axis=x.axis(axis if by_one_axis or not long else long[0])))
        flat = _reshaped(x, [int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:]))])
        return _reshaped(Value(function(flat.tensor)), x.shape)

    return apply


def _gemm(call: Call) -> Value:
    a, b, c = call.x.plain(), call.required(1).plain(), call.optional(2)
    if call.attribute("transA", 0):
        a = tf.transpose(a)
    if call.attribute("transB", 0):
        b = b.T if call.required(1).is_constant else tf.transpose(b)
    product = tf.matmul(a, b * call.attribute("alpha", 1.0) if call.attribute("alpha", 1.0) != 1 else b)
    return Value(product if c is None else product + c.plain() * call.attribute("beta", 1.0))


def _matmul(call: Call) -> Value:
    return Value(tf.matmul(call.x.plain(), call.required(1).plain()))


def _layer_normalization(call: Call) -> Value:
    x, scale, bias = call.x.plain(), call.required(1).tensor, call.optional(2)
    axes = list(range(call.attribute("axis", -1) % call.x.rank, call.x.rank))
    mean, variance = tf.nn.moments(x, axes, keepdims=True)
    normalised = (x - mean) * tf.math.rsqrt(variance + call.attribute("epsilon", 1e-5)) * scale
    return Value(normalised if bias is None else normalised + bias.tensor)


def _pad(call: Call) -> Value:
    pads = call.integers("pads", 1) or []
    axes = call.integers("axes", 3) or list(range(call.x.rank))
    margins = [(0, 0)] * call.x.rank
    for position, axis in enumerate(axes):
        margins[call.x.axis(axis)] = (pads[position], pads[position + len(axes)])
    mode, fill = call.attribute("mode", "constant"), call.number("value", 2) or 0.0
    if mode not in {"constant", "reflect"} or any(before < 0 or after < 0 for before, after in margins):
        raise ValueError(f"padding with the mode {mode} and {pads} is not supported")
    return call.x.like(tf.pad(call.x.tensor, margins, mode, constant_values=fill))


OPERATORS: Mapping[str, Operator] = {
    "Abs": unary(tf.abs, is_nonnegative=True),
    "Add": binary(lambda x, y: x + y),
    "Cast": _cast,
    "Ceil": unary(tf.math.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": binary(_divide),
    "Dropout": _identity,
    "Elu": _elu,
    "Equal": binary(tf.equal),
    "Erf": unary(tf.math.erf),
    "Exp": unary(tf.exp, is_nonnegative=True),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": unary(tf.floor),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Identity": _identity,
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": _leaky_relu,
    "Log": unary(tf.math.log),
    "LogSoftmax": _softmax(tf.nn.log_softmax),
    "MatMul": _matmul,
    "Max": binary(tf.maximum),
    "Min": binary(tf.minimum),
    "Mod": binary(tf.math.floormod),
    "Mul": binary(lambda x, y: x * y),
    "Neg": unary(tf.negative),
    "Not": unary(tf.logical_not),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": binary(lambda x, y: tf.pow(x, tf.cast(y, x.dtype))),
    "Range": _range,
    "Reciprocal": unary(tf.math.reciprocal),
    "ReduceMax": _reduce(tf.reduce_max),
    "ReduceMean": _reduce(tf.reduce_mean),
    "ReduceProd": _reduce(tf.reduce_prod),
    "ReduceSum": _reduce(tf.reduce_sum),
    "Relu": unary(tf.nn.relu, is_nonnegative=True),
    "Reshape": _reshape,
    "Selu": unary(tf.nn.selu),
    "Shape": _shape,
    "Sigmoid": unary(tf.sigmoid, is_nonnegative=True),
    "Slice": _slice,
    "Softmax": _softmax(tf.nn.softmax),
    "Softplus": unary(tf.nn.softplus, is_nonnegative=True),
    "Split": _split,
    "Sqrt": unary(tf.sqrt, is_nonnegative=True),
    "Squeeze": _squeeze,
    "Sub": binary(lambda x, y: x - y),
    "Sum": binary(lambda x, y: x + y),
    "Tanh": unary(tf.tanh),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
"""Functions by the name of the operator."""
