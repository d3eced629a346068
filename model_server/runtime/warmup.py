"""Warm up a version with its recorded requests, so that its first real requests are not slow.

The recorded requests are PredictionLog messages in a TFRecord file in the version's `assets.extra`, see
https://www.tensorflow.org/tfx/serving/saved_model_warmup.
"""

import logging
import struct
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from model_server.dataplane import DEFAULT_SIGNATURE, run_signature
from model_server.errors import DataLossError, InvalidArgumentError
from model_server.proto_conversion import Message, example_list, input_arrays
from model_server.servable import Servable
from model_server.tf_examples import ExampleRunner, InferenceTask
from tfs_api.protos import prediction_log_pb2

_LOG = logging.getLogger(__name__)

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000

_LENGTH = struct.Struct("<QI")
_CHECKSUM_BYTES = 4


def warm_up(servable: Servable, path: Path, iterations: int) -> None:
    """Replay the recorded requests of a version, if it has any.

    Args:
        servable: The loaded version.
        path: Its directory.
        iterations: How often to replay each request.

    Raises:
        ServingError: A request fails, or the file is corrupted or has more than `MAX_RECORDS` requests.
    """
    file = path / WARMUP_FILE
    if not file.is_file():
        return
    count = 0
    for count, record in enumerate(read_records(file.read_bytes()), start=1):
        if count > MAX_RECORDS:
            raise InvalidArgumentError(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}")
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except DecodeError as error:
            raise InvalidArgumentError(f"Failed to parse warmup record: {error}") from error
        for _ in range(iterations):
            _replay(servable, log)
    _LOG.info("Replayed %d warm-up requests of %s", count, path)


def _replay(servable: Servable, log: prediction_log_pb2.PredictionLog) -> None:
    match log.WhichOneof("log_type"):
        case "predict_log":
            request = log.predict_log.request
            run_signature(servable, _signature(request), input_arrays(request.inputs), request.output_filter)
        case "classify_log":
            request = log.classify_log.request
            ExampleRunner(servable, example_list(request.input)).classify(_signature(request))
        case "regress_log":
            request = log.regress_log.request
            ExampleRunner(servable, example_list(request.input)).regress(_signature(request))
        case "multi_inference_log":
            request = log.multi_inference_log.request
            tasks = [InferenceTask(task.model_spec.name, _signature(task), task.method_name) for task in request.tasks]
            ExampleRunner(servable, example_list(request.input)).infer(tasks)
        case kind:
            _LOG.warning("Skipped a warm-up request: %s is not supported", kind)


def _signature(request: Message) -> str:
    return str(request.model_spec.signature_name or DEFAULT_SIGNATURE)


def read_records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a TFRecord file: length, checksum of the length, data, checksum of the data.

    The format is described in https://www.tensorflow.org/tutorials/load_data/tfrecord. Only the length's checksum is
    verified, which is enough to recognise other files; corrupted data fails to parse.

    Raises:
        DataLossError: It is not a TFRecord file, or it ends within a record.
    """
    position = 0
    while position < len(content):
        header = content[position : position + _LENGTH.size]
        start = position + _LENGTH.size
        if len(header) < _LENGTH.size:
            raise DataLossError(f"truncated record at {position}")
        length, checksum = _LENGTH.unpack(header)
        if checksum != _masked_crc32c(header[:8]):
            raise DataLossError(
                f"corrupted record at {position} (Is this even a TFRecord file?). "
                "Please verify your warmup data is in TFRecord format."
            )
        if start + length + _CHECKSUM_BYTES > len(content):
            raise DataLossError(f"truncated record at {position}")
        yield content[start : start + length]
        position = start + length + _CHECKSUM_BYTES


def _masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C of RFC 3720, masked as in tensorflow/core/lib/hash/crc32c.h."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
