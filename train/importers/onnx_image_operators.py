"""Operators of ONNX that look at neighbouring pixels, in TensorFlow: convolutions, pooling, normalisation.

Source: https://github.com/onnx/onnx, docs/Operators.md, versions 7 to 21.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from train.importers.onnx_operators import Call, Operator
from train.importers.onnx_value import IMAGE_RANK, Tensor, Value

Margins = tuple[tuple[int, int], tuple[int, int]]
"""Rows and columns of padding, before and after."""


def _require_image(value: Value) -> Tensor:
    if value.rank != IMAGE_RANK:
        raise ValueError(f"expected an image of two dimensions, received a tensor of rank {value.rank}")
    return value.to_last()


def _margins(call: Call, sides: Sequence[int], window: Sequence[int], strides: Sequence[int]) -> Margins:
    """Return the padding of an operator, with what `ceil_mode` adds.

    Args:
        call: The call.
        sides: Height and width of the image.
        window: Height and width of the window, with its dilation.
        strides: Steps of the window.
    """
    auto_pad = call.attribute("auto_pad", "NOTSET")
    if auto_pad.startswith("SAME"):
        totals = [
            max((-(-side // stride) - 1) * stride + size - side, 0)
            for side, size, stride in zip(sides, window, strides, strict=True)
        ]
        pairs = [(total // 2, total - total // 2) for total in totals]
        rows, columns = pairs if auto_pad == "SAME_UPPER" else [pair[::-1] for pair in pairs]
        return rows, columns
    top, left, bottom, right = call.attribute("pads", [0, 0, 0, 0]) if auto_pad == "NOTSET" else [0, 0, 0, 0]
    if call.attribute("ceil_mode", 0):
        extra = [
            -(side + before + after - size) % stride
            for side, before, after, size, stride in zip(
                sides, (top, left), (bottom, right), window, strides, strict=True
            )
        ]
        bottom, right = bottom + extra[0], right + extra[1]
    return (top, bottom), (left, right)


def _pad_image(x: Tensor, margins: Margins, fill: float = 0.0) -> Tensor:
    if margins == ((0, 0), (0, 0)):
        return x
    return tf.pad(x, [(0, 0), *margins, (0, 0)], constant_values=tf.cast(fill, x.dtype))


def _is_same(margins: Margins, sides: Sequence[int], window: Sequence[int], strides: Sequence[int]) -> bool:
    """Return whether a padding is the one that TensorFlow calls SAME."""
    for margin, side, size, stride in zip(margins, sides, window, strides, strict=True):
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        if margin != (total // 2, total - total // 2):
            return False
    return True


def _conv(call: Call) -> Value:
    x, kernel, bias = _require_image(call.x), call.required(1).tensor, call.optional(2)
    if not call.required(1).is_constant or kernel.ndim != IMAGE_RANK:
        raise ValueError("only convolutions of images with constant kernels are supported")
    strides, dilations = list(call.attribute("strides", [1, 1])), list(call.attribute("dilations", [1, 1]))
    window = [(size - 1) * dilation + 1 for size, dilation in zip(kernel.shape[2:], dilations, strict=True)]
    margins = _margins(call, x.shape[1:3], window, strides)
    padding = "SAME" if _is_same(margins, x.shape[1:3], window, strides) else "VALID"
    if padding == "VALID":
        x = _pad_image(x, margins)
    groups = call.attribute("group", 1)
    result = _grouped(x, kernel, groups, strides, padding, dilations)
    return Value(result if bias is None else tf.nn.bias_add(result, bias.tensor), channels_last=True)


def _grouped(  # noqa: PLR0913, PLR0917  # what a convolution has
    x: Tensor, kernel: Tensor, groups: int, strides: list[int], padding: str, dilations: list[int]
) -> Tensor:
    """Convolve [N, H, W, C] with a kernel [out, in, h, w]."""
    channels = x.shape[3]
    if groups == channels and groups > 1 and strides[0] == strides[1] and (max(strides) == 1 or max(dilations) == 1):
        height, width = kernel.shape[2:]
        depthwise = kernel.transpose(2, 3, 0, 1).reshape(height, width, channels, -1)
        return tf.nn.depthwise_conv2d(x, depthwise, [1, *strides, 1], padding, dilations=dilations)
    parts = tf.split(x, groups, axis=3) if groups > 1 else [x]  # TensorFlow has no grouped convolution on processors
    results = [
        tf.nn.conv2d(part, piece.transpose(2, 3, 1, 0), strides, padding, dilations=dilations)
        for part, piece in zip(parts, np.split(kernel, groups), strict=True)
    ]
    return tf.concat(results, axis=3) if groups > 1 else results[0]


def _batch_normalization(call: Call) -> Value:
    scale, bias, mean, variance = (call.required(index).tensor for index in range(1, 5))
    factor = (scale / np.sqrt(variance + call.attribute("epsilon", 1e-5))).astype(scale.dtype)
    offset = (bias - mean * factor).astype(scale.dtype)
    if call.x.rank != IMAGE_RANK:
        return Value(call.x.tensor * factor + offset)
    return Value(call.x.to_last() * factor + offset, channels_last=True)


def _max_pool(call: Call) -> Value:
    x, window, strides, margins = _window(call)
    if any(dilation != 1 for dilation in call.attribute("dilations", [])):
        raise ValueError("pooling with dilations is not supported")
    if _is_same(margins, x.shape[1:3], window, strides):
        pooled = tf.nn.max_pool2d(x, window, strides, "SAME")
    else:
        fill = 0.0 if call.x.is_nonnegative else tf.as_dtype(x.dtype).min
        pooled = tf.nn.max_pool2d(_pad_image(x, margins, fill), window, strides, "VALID")
    return Value(pooled, channels_last=True, is_nonnegative=call.x.is_nonnegative)


def _average_pool(call: Call) -> Value:
    x, window, strides, margins = _window(call)
    pooled = tf.nn.avg_pool2d(_pad_image(x, margins), window, strides, "VALID")
    if margins != ((0, 0), (0, 0)):
        pooled *= _inverse_shares(call, x.shape[1:3], margins, window, strides)
    return Value(pooled, channels_last=True, is_nonnegative=call.x.is_nonnegative)


def _inverse_shares(
    call: Call, sides: Sequence[int], margins: Margins, window: Sequence[int], strides: Sequence[int]
) -> Tensor:
    """Return the size of a window divided by the number of its pixels that count, for each of its places."""
    counting = np.zeros([side + before + after for side, (before, after) in zip(sides, margins, strict=True)])
    if call.attribute("count_include_pad", 0):
        bottom, right = call.attribute("pads", [0, 0, 0, 0])[2:]
        counting[: sides[0] + margins[0][0] + bottom, : sides[1] + margins[1][0] + right] = 1
    else:
        counting[margins[0][0] :, margins[1][0] :][: sides[0], : sides[1]] = 1
    with tf.init_scope():  # a constant
        share = tf.nn.avg_pool2d(counting[None, :, :, None].astype(np.float32), window, strides, "VALID")
        return (1 / share).numpy()


def _window(call: Call) -> tuple[Tensor, list[int], list[int], Margins]:
    """Return image, window, strides and padding of a pooling operator."""
    x, window = _require_image(call.x), list(call.attribute("kernel_shape"))
    strides = list(call.attribute("strides", [1, 1]))
    return x, window, strides, _margins(call, x.shape[1:3], window, strides)


def _global_pool(function: Callable[..., Tensor]) -> Operator:
    def apply(call: Call) -> Value:
        pooled = function(_require_image(call.x), axis=(1, 2), keepdims=True)
        return Value(pooled, channels_last=True, is_nonnegative=call.x.is_nonnegative)

    return apply


def _lrn(call: Call) -> Value:
    size = call.attribute("size")
    normalised = tf.nn.local_response_normalization(
        _require_image(call.x),
        (size - 1) // 2,
        call.attribute("bias", 1.0),
        call.attribute("alpha", 0.0001) / size,
        call.attribute("beta", 0.75),
    )
    return Value(normalised, channels_last=True)


IMAGE_OPERATORS: Mapping[str, Operator] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Conv": _conv,
    "GlobalAveragePool": _global_pool(tf.reduce_mean),
    "GlobalMaxPool": _global_pool(tf.reduce_max),
    "LRN": _lrn,
    "MaxPool": _max_pool,
}
"""Functions by the name of the operator."""
