"""The precision of an exported network."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Weights: TypeAlias = Literal["float32", "float16", "bfloat16", "int8"]
Compute: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class ExportPrecision:
    """The types of a network's stored weights and of its arithmetic.

    Attributes:
        weights: Type of large stored arrays; see `train.export.graph_rewrites.store_weights`.
        compute: Type of convolutions and matrix products; see `train.export.graph_rewrites.compute_in_bfloat16`.
    """

    weights: Weights = "float32"
    compute: Compute = "float32"


FULL_PRECISION = ExportPrecision()
