"""The interface of a loaded model."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.generic]

SignatureDef: TypeAlias = Any
"""tensorflow.SignatureDef as stored in the model's file; the generated messages are untyped."""


class Servable(Protocol):
    """A loaded version of a model. `run` may be called from many threads at the same time."""

    @property
    def signatures(self) -> Mapping[str, SignatureDef]:
        """The signatures of the model, by name."""

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float | None
    ) -> dict[str, Array]:
        """Compute the named outputs.

        Args:
            signature: A key of `signatures`.
            inputs: One array for each input of the signature, by name.
            outputs: Names of outputs of the signature.
            timeout_s: Time limit in seconds; None for no limit.

        Raises:
            ServingError: The computation failed or did not finish in time.
        """

    def close(self) -> None:
        """Release the model's resources. No call may be in progress."""
