"""How calls are combined into batches: BatchingParameters, in protobuf text format.

The message is that of tensorflow_serving/servables/tensorflow/session_bundle_config.proto.
"""

from dataclasses import dataclass
from pathlib import Path

from model_server.errors import InvalidArgumentError
from model_server.options import available_cpus
from model_server.protos import server_config_pb2
from model_server.text_format import read_message

PER_MODEL_FILE = "batching_params.pbtxt"
"""Name of the file in a version's directory that contains the version's parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingParameters:
    """Parameters of batching. Names, meanings and defaults are TensorFlow Serving's."""

    max_batch_size: int = 1000
    """Maximum rows of a call and, unless `enable_large_batch_splitting` is on, of a batch."""
    batch_timeout_micros: int = 0
    """How long a batch waits for further calls. With 0, only calls that wait for a thread are combined."""
    max_enqueued_batches: int = 10
    """Batches that may wait for a thread, per signature; further calls are refused."""
    num_batch_threads: int = available_cpus()
    """Batches to compute at the same time, over all models."""
    allowed_batch_sizes: tuple[int, ...] = ()
    """Sizes that a batch is padded to by repeating a row; any size if empty."""
    pad_variable_length_inputs: bool = False
    """Pad rows of different shapes by repeating an element, instead of refusing the batch."""
    enable_large_batch_splitting: bool = False
    """Split calls that have more rows than `max_execution_batch_size`."""
    max_execution_batch_size: int | None = None
    """Maximum rows of a batch with `enable_large_batch_splitting`; None for `max_batch_size`."""

    @property
    def rows_per_batch(self) -> int:
        """Maximum rows to compute together."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size

    @property
    def batches_per_queue(self) -> int:
        """Maximum batches in one queue, at least 1 without splitting."""
        return self.max_enqueued_batches if self.enable_large_batch_splitting else max(self.max_enqueued_batches, 1)

    def check(self) -> None:
        """Check the values, except for the number of threads, which the scheduler checks.

        Raises:
            InvalidArgumentError: A value is out of range, or two values contradict each other.
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

    def padded_size(self, rows: int) -> int:
        """Return the size that a batch of `rows` rows is padded to."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


def read_parameters(file: Path) -> BatchingParameters:
    """Read a BatchingParameters message in text format.

    Raises:
        NotFoundError: The file cannot be read.
        InvalidArgumentError: It is not a BatchingParameters message.
    """
    message = read_message(file, server_config_pb2.BatchingParameters())
    values = {field.name: getattr(message, field.name) for field, _ in message.ListFields()}
    sizes = tuple(values.pop("allowed_batch_sizes", ()))
    values.pop("thread_pool_name", None)  # only a label in the real server's profiles
    plain_values = {name: getattr(value, "value", value) for name, value in values.items()}
    return BatchingParameters(allowed_batch_sizes=sizes, **plain_values)
