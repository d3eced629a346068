"""The warm-up file: requests that TensorFlow Serving runs when it loads a version, before the version is available.

Format: TFRecord of `PredictionLog` (tensorflow_serving/apis/prediction_log.proto) in `assets.extra`; see
https://www.tensorflow.org/tfx/serving/saved_model_warmup.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfs_api.protos import model_pb2, predict_pb2, prediction_log_pb2
from tfs_api.tensors import to_tensor_proto
from vision.card import Card

WARMUP_FILE = Path("assets.extra/tf_serving_warmup_requests")
"""Path in the directory of a version."""
BATCH_SIZES = (1, 8)


def write_warmup(version: Path, card: Card, *, explains: bool) -> None:
    """Write one request per signature and batch size: `serving_default`, `describe` and, if present, `explain`.

    Args:
        version: Directory of the version.
        card: Card of the version.
        explains: Whether the version has the signature `explain`.

    Raises:
        OSError: The file cannot be written.
    """
    logs = [
        _prediction_log(card.name, signature, inputs)
        for size in BATCH_SIZES
        for signature, inputs in _requests(card, size, explains=explains).items()
    ]
    path = version / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    _write_records(path, [log.SerializeToString() for log in logs])


def _requests(card: Card, size: int, *, explains: bool) -> dict[str, dict[str, npt.NDArray[np.generic]]]:
    image = np.zeros((size, *card.input.shape), np.uint8)
    requests: dict[str, dict[str, npt.NDArray[np.generic]]] = {
        "serving_default": {"image": image},
        "describe": {"index": np.zeros(size, np.int32)},
    }
    if explains:
        requests["explain"] = {"image": image, "class_id": np.zeros(size, np.int32)}
    return requests


def _prediction_log(
    model: str, signature: str, inputs: Mapping[str, npt.NDArray[np.generic]]
) -> prediction_log_pb2.PredictionLog:
    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name=model, signature_name=signature),
        inputs={name: to_tensor_proto(array) for name, array in inputs.items()},
    )
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))


def _write_records(path: Path, records: Sequence[bytes]) -> None:
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)
    except tf.errors.OpError as error:
        raise OSError(f"{path}: {error.message}") from error
