"""The device that trains, and the number type that it computes in."""

import os
from typing import Any, Literal

import tensorflow as tf

BFLOAT16_CAPABILITY = (8, 0)
"""Compute capability of the first GPUs that compute in bfloat16.

Older ones have float16, whose range needs a scaled loss; they stay in float32, in which a run cannot fail by that.
"""


def choose_policy(mixed_precision: bool | Literal["auto"]) -> str:  # noqa: FBT001  # the key of the configuration
    """Return Keras' name of the number type that a configuration asks for on this machine."""
    if mixed_precision == "auto":
        mixed_precision = bool(_gpus()) and all(_capability(gpu) >= BFLOAT16_CAPABILITY for gpu in _gpus())
    return "mixed_bfloat16" if mixed_precision else "float32"


def describe_device(mixed_precision: bool | Literal["auto"]) -> str:  # noqa: FBT001  # the key of the configuration
    """Return one line that names the device that trains and what it computes in."""
    number_type = choose_policy(mixed_precision).removeprefix("mixed_")
    gpus = [_details(gpu).get("device_name", gpu.name) for gpu in _gpus()]
    return f"{gpus[0] if gpus else f'processor, {os.cpu_count()} cores'}, in {number_type}"


def _gpus() -> list[Any]:
    return list(tf.config.list_physical_devices("GPU"))


def _capability(gpu: Any) -> tuple[int, int]:
    major, minor = _details(gpu).get("compute_capability", (0, 0))
    return major, minor


def _details(gpu: Any) -> dict[str, Any]:
    return dict(tf.config.experimental.get_device_details(gpu))
