"""Weights of networks, generated from the names of their tensors, and images, the same on every machine.

Files with the weights would be too large to commit. Bit generators of numpy give the same numbers in every version,
unlike its distributions, which is why nothing else is used here.
"""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

Shape = Sequence[int]
IMAGES_SHAPE = (2, 3, 45, 64)
"""[N, C, H, W]; the height is odd, which tells paddings apart."""
CLASSES = 7


def generate_uniform(name: str, shape: Shape) -> np.ndarray:
    """Return float32 numbers in -1..1 that depend on the name."""
    count = int(np.prod(shape, dtype=int))
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw((count + 1) // 2).view(np.uint32)[:count]
    return (raw.astype(np.float32) / np.float32(2**31) - 1).reshape(shape)


def generate_images() -> np.ndarray:
    """Return float32[N, C, H, W] of mean 0 and standard deviation 1."""
    return generate_uniform("images", IMAGES_SHAPE) * np.float32(np.sqrt(3))


def generate_weights(shapes: Mapping[str, Shape], variances: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Return the tensors of a network.

    Kernels keep the variance of their input roughly. Those before a normalisation, which have no bias or are depthwise,
    make it smaller, so that the epsilon of the normalisation matters.

    Args:
        shapes: Shapes of the tensors by PyTorch's names.
        variances: Mean variance of what each batch normalisation takes, by its name.
    """
    return {name: _generate_tensor(name, shape, shapes, variances) for name, shape in shapes.items()}


def generate_statistics(layer: str, channels: int, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the variance of a batch normalisation."""
    mean = generate_uniform(f"{layer}.running_mean", (channels,)) * np.float32(0.3 * np.sqrt(variance))
    return mean, (1 + generate_uniform(f"{layer}.running_var", (channels,)) / 2) * np.float32(variance)


def _generate_tensor(
    name: str, shape: Shape, shapes: Mapping[str, Shape], variances: Mapping[str, float]
) -> np.ndarray:
    layer, _, part = name.rpartition(".")
    match part:
        case "num_batches_tracked":
            return np.array(1)
        case "running_mean" | "running_var":
            return generate_statistics(layer, shape[0], variances[layer])[part == "running_var"]
        case "bias":
            return generate_uniform(name, shape) / 5
        case "gamma" | "layer_scale":
            return (1 + generate_uniform(name, shape)) / 4
    if len(shape) == 1:
        return 1 + generate_uniform(name, shape) / 2
    is_before_norm = f"{layer}.bias" not in shapes
    gain = 0.6 if is_before_norm else 0.006 if shape[1] == 1 else 6
    return generate_uniform(name, shape) * np.float32(np.sqrt(gain / np.prod(shape[1:])))
