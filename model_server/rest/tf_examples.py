"""Read tf.Example messages from JSON, and write the responses to classify and regress.

Rules and messages are those of tensorflow_serving/util/json_tensor.cc.
"""

from typing import Any

from model_server.errors import InvalidArgumentError
from model_server.memory import MAX_REQUEST_BYTES, check_request_bytes
from model_server.rest.rapidjson_compat import Json, format_value
from model_server.rest.read_tensors import is_base64, json_type, string_bytes
from model_server.rest.write_tensors import float_texts, string_text
from model_server.tf_examples import Classifications, Regressions
from tfs_api.protos import example_pb2

_MAX_INT64 = 2**63 - 1
_MIN_INT64 = -(2**63)
_MAX_UINT64 = 2**64 - 1


def read_examples(document: dict[str, Json]) -> list[bytes]:
    """Read the examples of a classify or regress request.

    Returns:
        Serialised tf.Example messages, each merged with the features of `context`.

    Raises:
        InvalidArgumentError: There are no examples, or one of them is invalid.
        ResourceExhaustedError: The contexts of all examples together are too large.
    """
    context = _example(document["context"]) if "context" in document else b""
    if "examples" not in document:
        raise InvalidArgumentError(
            f"JSON Value: {format_value(document)} "
            "When method is classify, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise InvalidArgumentError(
            f"JSON Value: {format_value(document)} Expecting 'examples' value to be an list/array"
        )
    if not examples:
        raise InvalidArgumentError(f"JSON Value: {format_value(document)} 'examples' value is an empty array")
    check_request_bytes(len(context) * len(examples), MAX_REQUEST_BYTES, "The context, once for each example, takes")
    return [context + _example(example) for example in examples]


def write_classifications(result: Classifications) -> str:
    """Write the response to classify: for each example a list of [label, score] pairs."""
    width = result.scores.shape[1]
    labels = [string_text(label) for label in result.labels.ravel().tolist()]
    pairs = [f"[{label}, {score}]" for label, score in zip(labels, float_texts(result.scores.ravel()), strict=True)]
    rows = (", ".join(pairs[row * width : (row + 1) * width]) for row in range(len(result.scores)))
    return f'{{\n    "results": [{", ".join(f"[{row}]" for row in rows)}\n    ]\n}}'


def write_regressions(result: Regressions) -> str:
    """Write the response to regress: a number for each example."""
    return f'{{\n    "results": [{", ".join(float_texts(result.values))}]\n}}'


def _example(value: Json) -> bytes:
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"Example must be JSON object but got JSON {json_type(value)}")
    example = example_pb2.Example()
    for name, content in value.items():
        try:
            feature = example.features.feature[name]
        except UnicodeEncodeError as error:
            raise InvalidArgumentError(f"Feature: {name} has a name that is not UTF-8") from error
        for element in content if isinstance(content, list) else [content]:
            _add_element(feature, name, element)
    return bytes(example.SerializeToString())


def _add_element(feature: Any, name: str, element: Json) -> None:
    kind, value = _element(name, element)
    current_kind = feature.WhichOneof("kind")
    if current_kind not in (None, kind):
        expected = current_kind.removesuffix("_list")
        raise InvalidArgumentError(f"Unexpected element type in feature: {name} expecting type: {expected}")
    getattr(feature, kind).value.append(value)


def _element(name: str, element: Json) -> tuple[str, int | float | bytes]:
    """Return the list field of feature.proto for an element, and the element's value in it."""
    if isinstance(element, str) or (isinstance(element, dict) and is_base64(element)):
        return "bytes_list", string_bytes(element)
    if isinstance(element, float) or (isinstance(element, int) and not _MIN_INT64 <= element <= _MAX_UINT64):
        return "float_list", float(element)
    if not isinstance(element, int):
        raise InvalidArgumentError(f"Feature: {name} has element with unexpected JSON type: {json_type(element)}")
    if element > _MAX_INT64:
        raise InvalidArgumentError(f"Feature: {name} has uint64 element. Only int64 is supported.")
    return "int64_list", int(element)
