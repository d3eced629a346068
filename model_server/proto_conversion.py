"""Request messages -> arguments of the use cases; their results -> response messages."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from ml_dtypes import bfloat16

from model_server.dataplane import DEFAULT_SIGNATURE, ModelSpec, Prediction
from model_server.errors import InvalidArgumentError
from model_server.servable import Array, SignatureDef
from model_server.tf_examples import Classifications, Regressions, Result
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
from tfs_api.tensors import TensorError, from_tensor_proto

Message: TypeAlias = Any
"""Generated messages have no types."""


def model_spec(request: Message) -> ModelSpec:
    """Read the `model_spec` of any request.

    Raises:
        InvalidArgumentError: there is none.
    """
    if not request.HasField("model_spec"):
        raise InvalidArgumentError("Missing ModelSpec")
    return task_spec(request)


def task_spec(task: Message) -> ModelSpec:
    """Read the `model_spec` of a task of a MultiInferenceRequest, which may be without one."""
    spec = task.model_spec
    choice = spec.WhichOneof("version_choice")
    return ModelSpec(
        spec.name,
        version=spec.version.value if choice == "version" else None,
        label=spec.version_label if choice == "version_label" else None,
        signature=spec.signature_name,
    )


def input_arrays(inputs: Mapping[str, Message]) -> dict[str, Array]:
    """Decode the tensors of a PredictRequest.

    Raises:
        InvalidArgumentError: one of them is no tensor.
    """
    return {alias: _array(alias, proto) for alias, proto in inputs.items()}


def _array(alias: str, proto: Message) -> Array:
    try:
        array = from_tensor_proto(proto)
    except TensorError as error:
        raise InvalidArgumentError(f"tensor parsing error: {alias}") from error
    # TensorFlow has bfloat16, numpy by itself has not.
    return array.astype(bfloat16) if proto.dtype == types_pb2.DT_BFLOAT16 else array


def example_list(source: Message) -> list[bytes]:
    """Return the tf.Example messages of an `Input`, serialised, each with what they have in common."""
    kind = source.WhichOneof("kind")
    if kind is None:
        return []
    examples = getattr(source, kind).examples
    # Of two messages one behind the other, the features of the second count, and those that only the first has.
    context = source.example_list_with_context.context.SerializeToString()
    return [context + example.SerializeToString() for example in examples]


def predict_response(spec: ModelSpec, prediction: Prediction, *, as_content: bool = False) -> Message:
    """Encode an answer.

    Args:
        spec: the request's.
        prediction: the answer.
        as_content: put all elements into `tensor_content`, and not into typed fields.
    """
    response = predict_pb2.PredictResponse()
    _tell_model(response.model_spec, spec, prediction.version)
    encode = to_content_tensor_proto if as_content else to_typed_tensor_proto
    for alias, array in prediction.outputs.items():
        response.outputs[alias].CopyFrom(encode(array))
    return response


def classification_response(spec: ModelSpec, version: int, classifications: Classifications) -> Message:
    """Encode the answer to Classify."""
    response = classification_pb2.ClassificationResponse(result=_classification_result(classifications))
    _tell_model(response.model_spec, spec, version)
    return response


def regression_response(spec: ModelSpec, version: int, regressions: Regressions) -> Message:
    """Encode the answer to Regress."""
    response = regression_pb2.RegressionResponse(result=_regression_result(regressions))
    _tell_model(response.model_spec, spec, version)
    return response


def multi_inference_response(specs: Iterable[ModelSpec], version: int, results: Iterable[Result]) -> Message:
    """Encode the answer to MultiInference."""
    response = inference_pb2.MultiInferenceResponse()
    for spec, result in zip(specs, results, strict=True):
        told = response.results.add()
        if isinstance(result, Classifications):
            told.classification_result.CopyFrom(_classification_result(result))
        else:
            told.regression_result.CopyFrom(_regression_result(result))
        _tell_model(told.model_spec, spec, version)
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
    except UnicodeDecodeError as error:  # a proto's string cannot hold it
        raise InvalidArgumentError(f"the class label {label!r} is not UTF-8") from error


def _regression_result(regressions: Regressions) -> Message:
    result = regression_pb2.RegressionResult()
    for value in regressions.values.tolist():
        result.regressions.add(value=value)
    return result


def _tell_model(told: Message, spec: ModelSpec, version: int) -> None:
    told.name = spec.name
    told.version.value = version
    told.signature_name = spec.signature or DEFAULT_SIGNATURE


def metadata_response(spec: ModelSpec, version: int, signatures: Mapping[str, SignatureDef]) -> Message:
    """Encode a model's signatures."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = spec.name
    response.model_spec.version.value = version
    response.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap(signature_def=signatures))
    return response


def status_response(statuses: Iterable[VersionStatus]) -> Message:
    """Encode the states of a model's versions."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in statuses:
        told = response.model_version_status.add(version=status.version, state=status.state)
        told.status.SetInParent()
        told.status.error_code = status.code
        told.status.error_message = status.message
    return response


def reload_response() -> Message:
    """Make the answer to a reload that worked."""
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()
    return response
