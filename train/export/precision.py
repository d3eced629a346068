"""The forms in which a network can be exported."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Weights: TypeAlias = Literal["float32", "float16", "bfloat16", "int8"]
Compute: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class ExportPrecision:
    """What was done to a network's weights and arithmetic.

    Attributes:
        weights: How large arrays are stored; see `train.export.graph_rewrites.store_weights`.
        compute: What convolutions are done in; see `train.export.graph_rewrites.compute_in_bfloat16`.
    """

    weights: Weights = "float32"
    compute: Compute = "float32"


FULL_PRECISION = ExportPrecision()
