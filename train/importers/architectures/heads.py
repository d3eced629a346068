"""Last layers as programs put them in the place of a network's own, as the one layer that its library has there."""

from collections.abc import Collection

import numpy as np

from train.weights.tensors import Tensors, WeightsFileError

HEADS = {"fc", "_fc", "head", "classifier", "linear", "last_linear"}
"""Names of attributes in which programs and libraries keep the last layers."""
EPSILON = 1e-5
"""Of normalisation, PyTorch's default."""


def fit_head(tensors: Tensors, name: str, body: Collection[str] = (), *, may_have_gaps: bool = False) -> Tensors:
    """Return tensors whose last layer has the name that it has in the network's library.

    Programs replace it by one of another name beside the network (`head`), or by a sequence in which dropout or
    normalisation comes before it (`fc.1`). Normalisation becomes part of it.

    Args:
        tensors: Weights by PyTorch's names, without prefixes.
        name: The name in the library: `fc`.
        body: Names of layers that come before the last one, though programs call last layers so: `head.norm`.
        may_have_gaps: Whether layers without weights after a normalisation are known to be dropout alone.

    Raises:
        WeightsFileError: There are several linear layers, or layers without weights after a normalisation, of which one
            may be an activation.
    """
    layers = {tensor.rpartition(".")[0] for tensor in tensors if tensor.partition(".")[0] in HEADS} - {*body}
    linear = sorted(layer for layer in layers if _is_linear(tensors, layer))
    if len(linear) > 1:
        raise WeightsFileError(
            f"it ends in the layers {', '.join(linear)}, and what is computed between them is not in the weights"
        )
    for layer in linear:
        norms = [norm for norm in layers if f"{norm}.running_mean" in tensors and _is_before(norm, layer)]
        last = _number(layer)
        for norm in sorted(norms, key=_number, reverse=True):
            if _number(norm) != last - 1 and not may_have_gaps:
                raise WeightsFileError(
                    f"it has layers without weights after {norm}, and what is computed there, dropout or an activation,"
                    " is not in the weights"
                )
            last = _number(norm)
            tensors = fold_norm(tensors, norm, layer)
        parts = {f"{layer}.{part}": f"{name}.{part}" for part in ("weight", "bias")}
        tensors = {parts.get(tensor, tensor): array for tensor, array in tensors.items()}
    return tensors


def fold_norm(tensors: Tensors, norm: str, linear: str) -> Tensors:
    """Return tensors in which a linear layer includes the batch normalisation of what it takes.

    Raises:
        WeightsFileError: The two have different numbers of features.
    """
    mean, variance = (tensors[f"{norm}.{part}"].astype(np.float64) for part in ("running_mean", "running_var"))
    kernel = tensors[f"{linear}.weight"].astype(np.float64)
    if kernel.shape[1:] != mean.shape:
        raise WeightsFileError(f"{linear}.weight, {kernel.shape}, does not take the {len(mean)} features of {norm}")
    scale = tensors.get(f"{norm}.weight", np.float64(1)) / np.sqrt(variance + EPSILON)
    shift = tensors.get(f"{norm}.bias", np.float64(0)) - mean * scale
    bias = tensors.get(f"{linear}.bias", np.float64(0)) + kernel @ shift
    others = {name: array for name, array in tensors.items() if not name.startswith(f"{norm}.")}
    return others | {f"{linear}.weight": (kernel * scale).astype("f4"), f"{linear}.bias": bias.astype("f4")}


def _is_linear(tensors: Tensors, layer: str) -> bool:
    return f"{layer}.weight" in tensors and tensors[f"{layer}.weight"].ndim > 1


def _is_before(layer: str, other: str) -> bool:
    """Return whether a layer comes before another one in the same sequence."""
    return layer.rpartition(".")[0] == other.rpartition(".")[0] and -1 < _number(layer) < _number(other)


def _number(layer: str) -> int:
    """Return the place of a layer in a sequence, or -1 if it has a name there."""
    number = layer.rpartition(".")[2]
    return int(number) if number.isdecimal() else -1
