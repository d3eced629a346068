"""Convert request messages to arguments of the data plane, and its results to response messages."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from ml_dtypes import bfloat16

from model_server.dataplane import DEFAULT_SIGNATURE, ModelSpec, Prediction
from model_server.errors import InvalidArgumentError
from model_server.memory import MAX_REQUEST_BYTES, check_request_bytes
from model_server.servable import Array, SignatureDef
from model_server.tf_examples import Classifications, InferenceResult, Regressions
from model_server.versions.lifecycle import VersionStatus
from tfs_api.output_tensors import to_content_tensor_proto, to_typed_tensor_proto
from tfs_api.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
    types_pb2,
)
from tfs_api.tensors import TensorError, decoded_bytes, from_tensor_proto

T = TypeVar("T")

Message: TypeAlias = Any
"""A message of tensorflow-serving-api, whose generated classes are untyped."""


def model_spec(request: Message) -> ModelSpec:
    """Convert the `model_spec` of a request.

    Raises:
        InvalidArgumentError: The request does not have one.
    """
    if not request.HasField("model_spec"):
        raise InvalidArgumentError("Missing ModelSpec")
    return task_spec(request)


def task_spec(task: Message) -> ModelSpec:
    """Convert the `model_spec` of a task of a MultiInferenceRequest, which need not have one."""
    spec = task.model_spec
    choice = spec.WhichOneof("version_choice")
    return ModelSpec(
        spec.name,
        version=spec.version.value if choice == "version" else None,
        label=spec.version_label if choice == "version_label" else None,
        signature=spec.signature_name,
    )


def input_arrays(inputs: Mapping[str, Message], max_bytes: int = MAX_REQUEST_BYTES) -> dict[str, Array]:
    """Decode the tensors of a PredictRequest, which together may take `max_bytes`.

    Raises:
        InvalidArgumentError: One of them is not a valid tensor.
        ResourceExhaustedError: They are too large.
    """
    total_bytes = sum(_convert(alias, proto, decoded_bytes) for alias, proto in inputs.items())
    check_request_bytes(total_bytes, max_bytes, "The tensors of this request take")
    return {alias: _array(alias, proto) for alias, proto in inputs.items()}


def _convert(alias: str, proto: Message, function: Callable[[Message], T]) -> T:
    try:
        return function(proto)
    except TensorError as error:
        raise InvalidArgumentError(f"tensor parsing error: {alias}") from error


def _array(alias: str, proto: Message) -> Array:
    array = _convert(alias, proto, from_tensor_proto)
    # numpy has no bfloat16; ml_dtypes adds it.
    return array.astype(bfloat16) if proto.dtype == types_pb2.DT_BFLOAT16 else array


def example_list(source: Message, max_bytes: int = MAX_REQUEST_BYTES) -> list[bytes]:
    """Return the serialised tf.Example messages of an `Input`, each merged with the common context.

    Raises:
        ResourceExhaustedError: The contexts of all examples together are larger than `max_bytes`.
    """
    kind = source.WhichOneof("kind")
    if kind is None:
        return []
    examples = getattr(source, kind).examples
    # Concatenated messages are merged on parsing: the example's features win over the context's.
    context = source.example_list_with_context.context.SerializeToString()
    check_request_bytes(len(context) * len(examples), max_bytes, "The context, once for each example, takes")
    return [context + example.SerializeToString() for example in examples]


def predict_response(spec: ModelSpec, prediction: Prediction, *, as_content: bool = False) -> Message:
    """Encode the response to Predict.

    Args:
        spec: The request's model spec.
        prediction: The outputs.
        as_content: Put the elements into `tensor_content` instead of typed fields.
    """
    response = predict_pb2.PredictResponse()
    _set_model_spec(response.model_spec, spec, prediction.version)
    encode = to_content_tensor_proto if as_content else to_typed_tensor_proto
    for alias, array in prediction.outputs.items():
        response.outputs[alias].CopyFrom(encode(array))
    return response


def classification_response(spec: ModelSpec, version: int, classifications: Classifications) -> Message:
    """Encode the response to Classify."""
    response = classification_pb2.ClassificationResponse(result=_classification_result(classifications))
    _set_model_spec(response.model_spec, spec, version)
    return response


def regression_response(spec: ModelSpec, version: int, regressions: Regressions) -> Message:
    """Encode the response to Regress."""
    response = regression_pb2.RegressionResponse(result=_regression_result(regressions))
    _set_model_spec(response.model_spec, spec, version)
    return response


def multi_inference_response(specs: Iterable[ModelSpec], version: int, results: Iterable[InferenceResult]) -> Message:
    """Encode the response to MultiInference."""
    response = inference_pb2.MultiInferenceResponse()
    for spec, result in zip(specs, results, strict=True):
        inference = response.results.add()
        if isinstance(result, Classifications):
            inference.classification_result.CopyFrom(_classification_result(result))
        else:
            inference.regression_result.CopyFrom(_regression_result(result))
        _set_model_spec(inference.model_spec, spec, version)
    return response


def _classification_result(classifications: Classifications) -> Message:
    result = classification_pb2.ClassificationResult()
    for labels, scores in zip(classifications.labels, classifications.scores.tolist(), strict=True):
        row = result.classifications.add()
        for label, score in zip(labels, scores, strict=True):
            row.classes.add(label=_text(label), score=score)
    return result


def _text(label: bytes) -> str:
    try:
        return label.decode()
    except UnicodeDecodeError as error:  # a string field cannot hold it
        raise InvalidArgumentError(f"the class label {label!r} is not UTF-8") from error


def _regression_result(regressions: Regressions) -> Message:
    result = regression_pb2.RegressionResult()
    for value in regressions.values.tolist():
        result.regressions.add(value=value)
    return result


def _set_model_spec(message: Message, spec: ModelSpec, version: int) -> None:
    message.name = spec.name
    message.version.value = version
    message.signature_name = spec.signature or DEFAULT_SIGNATURE


def metadata_response(spec: ModelSpec, version: int, signatures: Mapping[str, SignatureDef]) -> Message:
    """Encode the response to GetModelMetadata."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = spec.name
    response.model_spec.version.value = version
    response.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap(signature_def=signatures))
    return response


def status_response(statuses: Iterable[VersionStatus]) -> Message:
    """Encode the response to GetModelStatus."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in statuses:
        version_status = response.model_version_status.add(version=status.version, state=status.state)
        version_status.status.SetInParent()
        version_status.status.error_code = status.code
        version_status.status.error_message = status.message
    return response


def reload_response() -> Message:
    """Return the response to a successful HandleReloadConfigRequest."""
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()
    return response
