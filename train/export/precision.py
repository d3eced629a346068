"""The forms and the precision of an exported network."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Weights: TypeAlias = Literal["float32", "float16", "bfloat16", "int8"]
Compute: TypeAlias = Literal["float32", "bfloat16"]
Form: TypeAlias = Literal["saved_model", "tflite"]
TfliteWeights: TypeAlias = Literal["int8", "float32"]
TfliteMode: TypeAlias = Literal["auto", "int8", "float32", "none"]

MAX_LOSS = 1.0
"""Points of accuracy that int8 may cost, unless stated otherwise."""


@dataclass(frozen=True, slots=True)
class ExportPrecision:
    """The types of a network's stored weights and of its arithmetic.

    Attributes:
        weights: Type of large stored arrays; see `train.export.graph_rewrites.store_weights`.
        compute: Type of convolutions and matrix products; see `train.export.graph_rewrites.compute_in_bfloat16`.
    """

    weights: Weights = "float32"
    compute: Compute = "float32"


@dataclass(frozen=True, slots=True)
class TfliteOptions:
    """Which TensorFlow Lite form a version gets beside its SavedModel.

    Attributes:
        mode: Type of its weights. ``auto`` takes int8 if it costs less CPU time and not too much accuracy, else none.
        max_loss: Points of accuracy that int8 may cost.
    """

    mode: TfliteMode = "auto"
    max_loss: float = MAX_LOSS


NO_TFLITE = TfliteOptions("none")
FULL_PRECISION = ExportPrecision()
