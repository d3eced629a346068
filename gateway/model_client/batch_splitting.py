"""Split a call that has more rows than the model server accepts in one."""

import re
from collections.abc import Callable, Mapping

import grpc
import numpy as np

from gateway.errors import ModelFailedError
from gateway.model_client.protocol import Array, TensorSpec
from gateway.model_client.retry_policy import MESSAGE_TOO_LARGE, details_of

TOO_LARGE = re.compile(rf"larger than maximum (?:input )?batch size ?([0-9]{{0,9}})|{MESSAGE_TOO_LARGE}")
"""Message for more rows than `max_batch_size` (tensorflow/core/kernels/batching_util/shared_batch_scheduler.h), or for
more bytes than the server accepts."""
CODES = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)


def find_max_rows(error: ModelFailedError, rows: int) -> int | None:
    """Return how many rows the server accepts in one call, or None if it failed for another reason.

    Args:
        error: Why a call failed.
        rows: Rows of that call.

    Returns:
        At least 1 and fewer than `rows`: the number in the server's message, or half of the rows if there is none.
    """
    cause = error.__cause__
    if not isinstance(cause, grpc.RpcError) or cause.code() not in CODES:
        return None
    match = TOO_LARGE.search(details_of(cause))
    if match is None or rows <= 1:
        return None
    max_rows = int(match[1] or 0)
    return max_rows if 0 < max_rows < rows else rows // 2


def predict_in_parts(
    predict: Callable[[Mapping[str, Array]], Array], inputs: Mapping[str, Array], max_rows: int
) -> Array:
    """Call a function with at most so many rows at a time, one call after the other, and join what it returns.

    Args:
        predict: Returns a row of the output for each row of the inputs.
        inputs: Arrays with the same number of rows.
        max_rows: Rows of one call, at least 1.

    Raises:
        ModelFailedError: A call returned another number of rows than it received.
    """
    rows = len(next(iter(inputs.values())))
    outputs = []
    for start in range(0, rows, max_rows):
        part = {name: array[start : start + max_rows] for name, array in inputs.items()}
        outputs.append(predict(part))
        expected = min(max_rows, rows - start)
        if outputs[-1].shape[:1] != (expected,):
            raise ModelFailedError(f"The model returned {TensorSpec.of(outputs[-1])} for {expected} images.")
    return np.concatenate(outputs)
