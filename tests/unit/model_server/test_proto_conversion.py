import numpy as np
import pytest

from model_server.dataplane import ModelSpec, Prediction
from model_server.errors import InvalidArgumentError
from model_server.proto_conversion import (
    classification_response,
    example_list,
    multi_inference_response,
    predict_response,
    regression_response,
    task_spec,
)
from model_server.tf_examples import Classifications, Regressions
from tfs_api.protos import example_pb2, inference_pb2, input_pb2

SPEC = ModelSpec("m", signature="s")
CLASSES = Classifications(np.array([[b"cat", b"d\xc3\xb6g"]], object), np.float32([[0.25, 0.75]]))
VALUES = Regressions(np.float32([2.5, -1]))


def example(**values):
    message = example_pb2.Example()
    for name, value in values.items():
        message.features.feature[name].int64_list.value.append(value)
    return message


def test_examples():
    source = input_pb2.Input()
    source.example_list.examples.extend([example(x=1), example()])
    assert example_list(source) == [example(x=1).SerializeToString(), b""]


def test_examples_with_context():
    source = input_pb2.Input()
    source.example_list_with_context.context.CopyFrom(example(x=1, y=2))
    assert example_list(source) == []
    source.example_list_with_context.examples.extend([example(x=5), example()])
    first, second = map(example_pb2.Example.FromString, example_list(source))
    assert (first, second) == (example(x=5, y=2), example(x=1, y=2))


def test_an_empty_input_has_no_examples():
    assert example_list(input_pb2.Input()) == []


def test_a_task_need_not_have_a_model_spec():
    assert task_spec(inference_pb2.InferenceTask()) == ModelSpec("")


def test_classifications():
    response = classification_response(SPEC, 3, CLASSES)
    ((first, second),) = [row.classes for row in response.result.classifications]
    assert (first.label, first.score, second.label, second.score) == ("cat", 0.25, "dög", 0.75)
    assert (response.model_spec.name, response.model_spec.version.value) == ("m", 3)


def test_a_label_that_is_not_utf_8_is_refused():
    labels = np.array([[b"\xff"]], object)
    with pytest.raises(InvalidArgumentError, match="the class label b'\\\\xff' is not UTF-8"):
        classification_response(SPEC, 3, Classifications(labels, np.float32([[1]])))


def test_regressions():
    response = regression_response(ModelSpec("m"), 3, VALUES)
    assert [row.value for row in response.result.regressions] == [2.5, -1]
    assert response.model_spec.signature_name == "serving_default"


def test_results_of_several_tasks_in_order():
    response = multi_inference_response([ModelSpec("m", signature="r"), SPEC], 3, [VALUES, CLASSES])
    assert [result.model_spec.signature_name for result in response.results] == ["r", "s"]
    assert [result.WhichOneof("result") for result in response.results] == [
        "regression_result",
        "classification_result",
    ]


@pytest.mark.parametrize("as_content", [False, True])
def test_elements_are_in_the_requested_field(as_content):
    outputs = {"y": np.float32([1]), "s": np.array([b"ab"], object)}
    response = predict_response(SPEC, Prediction(3, "s", outputs), as_content=as_content)
    numbers, strings = response.outputs["y"], response.outputs["s"]
    assert list(numbers.float_val) == ([] if as_content else [1])
    assert numbers.tensor_content == (b"\0\0\x80?" if as_content else b"")
    assert list(strings.string_val) == ([] if as_content else [b"ab"])
    assert strings.tensor_content == (b"\2ab" if as_content else b"")
