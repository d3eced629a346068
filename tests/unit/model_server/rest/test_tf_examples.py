import numpy as np
import pytest

from model_server.errors import InvalidArgumentError
from model_server.rest.tf_examples import read_examples, write_classifications, write_regressions
from model_server.tf_examples import Classifications, Regressions
from tfs_api.protos import example_pb2


def features(data):
    """Return the features of a serialised example by name: the kind of list, and its values."""
    features = {}
    for name, feature in example_pb2.Example.FromString(data).features.feature.items():
        kind = feature.WhichOneof("kind")
        features[name] = (kind, list(getattr(feature, kind).value) if kind else [])
    return features


def message_of(document):
    with pytest.raises(InvalidArgumentError) as failure:
        read_examples(document)
    return failure.value.message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.25, ("float_list", [0.25])),
        ([0.25, -1.0], ("float_list", [0.25, -1.0])),
        (float("inf"), ("float_list", [float("inf")])),
        (3, ("int64_list", [3])),
        ([-(2**63), 2**63 - 1], ("int64_list", [-(2**63), 2**63 - 1])),
        (2**64, ("float_list", [2.0**64])),
        ([True, 0, False], ("int64_list", [1, 0, 0])),
        ("a", ("bytes_list", [b"a"])),
        (["\u00e4", {"b64": "/w=="}], ("bytes_list", [b"\xc3\xa4", b"\xff"])),
        ([], (None, [])),
    ],
)
def test_features(value, expected):
    (example,) = read_examples({"examples": [{"x": value}]})
    assert features(example) == {"x": expected}


def test_an_example_may_be_empty():
    assert read_examples({"examples": [{}, {"x": 1}]})[0] == b""


def test_an_example_overrides_features_of_the_context():
    first, second = read_examples({"context": {"x": 1, "y": 2}, "examples": [{"x": 5}, {}]})
    assert features(first) == {"x": ("int64_list", [5]), "y": ("int64_list", [2])}
    assert features(second) == {"x": ("int64_list", [1]), "y": ("int64_list", [2])}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "Feature: x has element with unexpected JSON type: Null"),
        ([[1]], "Feature: x has element with unexpected JSON type: Array"),
        ({"a": 1}, "Feature: x has element with unexpected JSON type: Object"),
        ([1, 0.5], "Unexpected element type in feature: x expecting type: int64"),
        ([0.5, 1], "Unexpected element type in feature: x expecting type: float"),
        (["a", 1], "Unexpected element type in feature: x expecting type: bytes"),
        (2**63, "Feature: x has uint64 element. Only int64 is supported."),
        ({"b64": "*"}, "Unable to base64 decode"),
    ],
)
def test_invalid_features_are_refused(value, message):
    assert message_of({"examples": [{"x": value}]}) == message


def test_a_feature_name_that_is_not_utf_8_is_refused():
    assert "not UTF-8" in message_of({"examples": [{"\udcff": 1}]})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
        (
            {"examples": 1},
            "JSON Value: {\n    \"examples\": 1\n} Expecting 'examples' value to be an list/array",
        ),
        ({"examples": []}, "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array"),
        ({"examples": [0.25]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{}], "context": []}, "Example must be JSON object but got JSON Array"),
        ({"context": None}, "Example must be JSON object but got JSON Null"),
    ],
)
def test_invalid_documents_are_refused(document, message):
    assert message_of(document) == message


def test_classifications_are_written():
    labels = np.array([[b"low", b'h"\xff'], [b"", b"\xc3\xa4"]], object)
    text = write_classifications(Classifications(labels, np.float32([[0.75, 1], [np.nan, 0.1]])))
    rows = '[["low", 0.75], ["h\\"\udcff", 1.0]], [["", NaN], ["\u00e4", 0.1]]'
    assert text == f'{{\n    "results": [{rows}\n    ]\n}}'


def test_examples_without_classes_are_written():
    nothing = Classifications(np.empty((2, 0), object), np.zeros((2, 0), np.float32))
    assert write_classifications(nothing) == '{\n    "results": [[], []\n    ]\n}'


def test_regressions_are_written():
    assert write_regressions(Regressions(np.float32([2.5, -0.1]))) == '{\n    "results": [2.5, -0.1]\n}'
