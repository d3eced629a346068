"""What the server needs of a loaded model."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.generic]

SignatureDef: TypeAlias = Any
"""tensorflow.SignatureDef, as the model's file has it; generated messages have no types."""


class Servable(Protocol):
    """One version of a model, loaded. Its methods may be called from many threads at once."""

    @property
    def signatures(self) -> Mapping[str, SignatureDef]:
        """The functions that the model offers, by name."""

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float | None
    ) -> dict[str, Array]:
        """Compute the named outputs.

        Args:
            signature: a key of `signatures`.
            inputs: one array for each input of the signature, by its name.
            outputs: names of outputs of the signature.
            timeout_s: when to give up; None for never.

        Raises:
            ServingError: the computation failed, or did not end in time.
        """

    def close(self) -> None:
        """Free what the model holds; nothing runs on it any more."""
