import logging

import numpy as np
import pytest

from model_server.errors import DataLossError, FailedPreconditionError, InvalidArgumentError
from model_server.runtime.warmup import MAX_RECORDS, WARMUP_FILE, read_records, warm_up
from model_server.tf_examples import REGRESS_METHOD
from tfs_api.protos import prediction_log_pb2
from tfs_api.tensors import to_tensor_proto

# The records b"abc" and b"" as tf.io.TFRecordWriter writes them.
TWO_RECORDS = bytes.fromhex("0300000000000000b099490e6162636e57f121000000000000000029039807d8ea82a2")
EMPTY_RECORD = TWO_RECORDS[-16:]


def predict_log(signature=""):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = "whatever"
    log.predict_log.request.model_spec.signature_name = signature
    log.predict_log.request.inputs["x"].CopyFrom(to_tensor_proto(np.float32([1])))
    return log


def crc32c(data):
    """Compute CRC-32C by polynomial division, most significant bit first."""
    bits = int.from_bytes(bytes(int(f"{byte:08b}"[::-1], 2) for byte in data), "big") << 32
    bits ^= 0xFFFFFFFF << (8 * len(data))
    for position in range(8 * len(data) + 31, 31, -1):
        if bits >> position & 1:
            bits ^= 0x11EDC6F41 << (position - 32)
    return int(f"{bits:032b}"[::-1], 2) ^ 0xFFFFFFFF


def record(message):
    data = message.SerializeToString()
    length = len(data).to_bytes(8, "little")
    checksum = crc32c(length)
    masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return length + masked.to_bytes(4, "little") + data + b"\0\0\0\0"


def write(tmp_path, content):
    (tmp_path / WARMUP_FILE).parent.mkdir()
    (tmp_path / WARMUP_FILE).write_bytes(content)


def test_records_are_read():
    assert list(read_records(TWO_RECORDS)) == [b"abc", b""]
    assert list(read_records(b"")) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"this is not a TFRecord file", r"corrupted record at 0 \(Is this even a TFRecord file\?\)"),
        (TWO_RECORDS[:-1], "truncated record at 19"),
        (TWO_RECORDS[:25], "truncated record at 19"),
        (TWO_RECORDS[:10], "truncated record at 0"),
        (TWO_RECORDS[:17], "truncated record at 0"),
        (TWO_RECORDS[:19] + b"\1" + TWO_RECORDS[20:], "corrupted record at 19"),
    ],
)
def test_corrupted_files_are_refused(content, message):
    with pytest.raises(DataLossError, match=message):
        list(read_records(content))


def test_a_version_without_warm_up_requests_is_not_called(servable, tmp_path):
    warm_up(servable, tmp_path, iterations=1)
    assert servable.calls == []


def test_requests_are_replayed(servable, tmp_path):
    write(tmp_path, record(predict_log()) + record(predict_log("serving_default")))
    warm_up(servable, tmp_path, iterations=3)
    assert len(servable.calls) == 6
    signature, inputs, outputs, timeout_s = servable.calls[0]
    assert (signature, inputs["x"].tolist(), outputs, timeout_s) == ("serving_default", [1], ["y"], None)


def test_a_request_that_fails_raises_its_error(servable, tmp_path):
    write(tmp_path, record(predict_log()) + record(predict_log("nope")))
    with pytest.raises(FailedPreconditionError, match='signature key "nope" not found'):
        warm_up(servable, tmp_path, iterations=1)


def test_too_many_requests_are_refused(servable, tmp_path):
    write(tmp_path, record(predict_log()) * (MAX_RECORDS + 1))
    with pytest.raises(InvalidArgumentError, match=r"Number of warmup records exceeds the maximum \(1000\) at .*"):
        warm_up(servable, tmp_path, iterations=1)


@pytest.mark.parametrize(
    ("kind", "outputs"),
    [("classify_log", ["scores"]), ("regress_log", ["outputs"]), ("multi_inference_log", ["outputs"])],
)
def test_requests_with_examples_are_replayed(servable, signature_def, tmp_path, kind, outputs):
    servable.signatures = {"s": signature_def({"inputs": ("DT_STRING", [-1])}, {outputs[0]: ("DT_FLOAT", [-1])})}
    servable.error = FailedPreconditionError("it came so far")
    log = prediction_log_pb2.PredictionLog()
    request = getattr(log, kind).request
    spec = request.tasks.add(method_name=REGRESS_METHOD).model_spec if "multi" in kind else request.model_spec
    spec.name, spec.signature_name = "m", "s"
    request.input.example_list.examples.add()
    write(tmp_path, record(log))
    with pytest.raises(FailedPreconditionError, match="it came so far"):
        warm_up(servable, tmp_path, iterations=1)
    assert servable.calls == [("s", {"inputs": [b""]}, outputs, None)]


def test_other_kinds_of_requests_are_skipped_with_a_warning(servable, tmp_path, caplog):
    log = prediction_log_pb2.PredictionLog()
    log.session_run_log.request.model_spec.name = "m"
    write(tmp_path, record(log) + EMPTY_RECORD)
    with caplog.at_level(logging.WARNING):
        warm_up(servable, tmp_path, iterations=1)
    assert servable.calls == []
    assert "session_run_log is not supported" in caplog.text


def test_a_record_that_is_not_a_message_is_refused(servable, tmp_path):
    write(tmp_path, TWO_RECORDS)
    with pytest.raises(InvalidArgumentError, match="Failed to parse warmup record"):
        warm_up(servable, tmp_path, iterations=1)
