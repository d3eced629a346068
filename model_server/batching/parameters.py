"""How calls are put together to batches: BatchingParameters, in protobuf text format.

The message is that of tensorflow_serving/servables/tensorflow/session_bundle_config.proto.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from model_server.errors import InvalidArgumentError
from model_server.text_proto import BOOL, INT64, STRING, Repeated, message_class, read_file

PER_MODEL_FILE = "batching_params.pbtxt"
"""Name of the file in a version's directory that holds this version's parameters."""

_Message = message_class(
    "BatchingParameters",
    {
        "max_batch_size": {"value": INT64},
        "batch_timeout_micros": {"value": INT64},
        "max_enqueued_batches": {"value": INT64},
        "num_batch_threads": {"value": INT64},
        "thread_pool_name": {"value": STRING},
        "allowed_batch_sizes": Repeated(INT64),
        "pad_variable_length_inputs": BOOL,
        "enable_large_batch_splitting": {"value": BOOL},
        "max_execution_batch_size": {"value": INT64},
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingParameters:
    """Names, meanings and defaults are those of the message, and of the options that it fills."""

    max_batch_size: int = 1000
    """The most rows that a call may have, and a batch, if `enable_large_batch_splitting` is off."""
    batch_timeout_micros: int = 0
    """How long a batch waits for further calls. With 0, calls come together while all threads are busy."""
    max_enqueued_batches: int = 10
    """Batches that may wait for a thread, for each signature; further calls are refused."""
    num_batch_threads: int = len(os.sched_getaffinity(0))
    """Batches that are computed at once, those of all models together."""
    allowed_batch_sizes: tuple[int, ...] = ()
    """The sizes that a batch is filled up to, by repeating a row; any size, if empty."""
    pad_variable_length_inputs: bool = False
    """Make rows of different shape equal by repeating an element, instead of refusing the batch."""
    enable_large_batch_splitting: bool = False
    """Take calls apart that have more rows than `max_execution_batch_size`."""
    max_execution_batch_size: int | None = None
    """The most rows of a batch with `enable_large_batch_splitting`; None for `max_batch_size`."""

    @property
    def rows_per_batch(self) -> int:
        """The most rows that are computed together."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size

    @property
    def batches_per_queue(self) -> int:
        """The most batches that may wait in one queue; without splitting there is always room for one."""
        return self.max_enqueued_batches if self.enable_large_batch_splitting else max(self.max_enqueued_batches, 1)

    def check(self) -> None:
        """See whether a model can be batched so. The number of threads is the scheduler's to check.

        Raises:
            InvalidArgumentError: a value is out of its range, or two do not go together.
        """
        if self.allowed_batch_sizes and self.allowed_batch_sizes[-1] != self.max_batch_size:
            raise InvalidArgumentError(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{self.allowed_batch_sizes[-1]}; expected {self.max_batch_size}"
            )
        for name, value in (
            ("max_batch_size", self.max_batch_size),
            ("max_execution_batch_size", self.rows_per_batch),
            ("max_enqueued_batches", self.batches_per_queue),
        ):
            if value < 1:
                raise InvalidArgumentError(f"{name} must be positive; was {value}")
        if self.batch_timeout_micros < 0:
            raise InvalidArgumentError(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}")
        if self.rows_per_batch > self.max_batch_size:
            raise InvalidArgumentError(
                "When enable_large_batch_splitting is true, max_batch_size must be greater than or equal to "
                f"max_execution_batch_size; they are {self.max_batch_size} and {self.rows_per_batch}"
            )

    def padded(self, rows: int) -> int:
        """Return the size that a batch of `rows` is filled up to."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


def read_parameters(file: Path) -> BatchingParameters:
    """Read a BatchingParameters message in text format.

    Raises:
        NotFoundError: the file cannot be read.
        InvalidArgumentError: it is not such a message.
    """
    message = read_file(file, _Message())
    values = {field.name: getattr(message, field.name) for field, _ in message.ListFields()}
    sizes = tuple(values.pop("allowed_batch_sizes", ()))
    values.pop("thread_pool_name", None)  # a label in the real server's profiles
    unwrapped = {name: getattr(value, "value", value) for name, value in values.items()}
    return BatchingParameters(allowed_batch_sizes=sizes, **unwrapped)
