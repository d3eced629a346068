import numpy as np
import pytest

from model_server.dataplane import DataPlane, ModelSpec, run_signature
from model_server.errors import (
    Code,
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServingError,
)
from model_server.tf_examples import REGRESS_METHOD
from tfs_api.tensors import to_tensor_proto

FLOAT = ("DT_FLOAT", [-1])
ONE = np.float32([1])


@pytest.fixture
def plane(models):
    return DataPlane(models)


@pytest.fixture
def two_inputs(servable_class, signature_def):
    outputs = {"y": FLOAT, "z": FLOAT}
    return servable_class(
        {
            "serving_default": signature_def({"a": FLOAT, "b": FLOAT}, outputs),
            "with_default": signature_def({"a": FLOAT, "b": FLOAT}, outputs, {"b": to_tensor_proto(np.float32(100))}),
            "no_input": signature_def({}, outputs),
        }
    )


def test_predict(plane, models, servable):
    prediction = plane.predict(ModelSpec("half"), {"x": ONE}, timeout_s=2.5)
    assert (prediction.version, prediction.signature) == (3, "serving_default")
    np.testing.assert_array_equal(prediction.outputs["y"], [2])
    assert servable.calls == [("serving_default", {"x": ONE}, ["y"], 2.5)]
    assert models.leased == 0


def test_version_and_label_are_passed_on(plane):
    assert plane.predict(ModelSpec("half", version=3), {"x": ONE}).version == 3
    assert plane.predict(ModelSpec("half", label="stable"), {"x": ONE}).version == 3
    with pytest.raises(NotFoundError, match=r"Specific\(half, 9\)"):
        plane.predict(ModelSpec("half", version=9), {"x": ONE})


def test_the_version_is_released_after_a_failure(plane, models, servable):
    servable.error = DataLossError("broken")
    with pytest.raises(DataLossError):
        plane.predict(ModelSpec("half"), {"x": ONE})
    assert models.leased == 0


def test_method_names_are_checked_on_request(models, servable):
    plane = DataPlane(models, check_method_names=True)
    assert plane.predict(ModelSpec("half"), {"x": ONE})
    servable.signatures["serving_default"].method_name = ""
    with pytest.raises(ServingError) as failure:
        plane.predict(ModelSpec("half"), {"x": ONE})
    assert failure.value.code is Code.INTERNAL
    assert failure.value.message == (
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: "
    )
    with pytest.raises(FailedPreconditionError):
        plane.predict(ModelSpec("half", signature="nope"), {"x": ONE})


def test_classify_and_regress_use_the_requested_version(plane, models, servable, signature_def):
    strings = {"inputs": ("DT_STRING", [-1])}
    servable.signatures = {
        "serving_default": signature_def(strings, {"scores": FLOAT}),
        "r": signature_def(strings, {"outputs": FLOAT}),
    }
    servable.error = DataLossError("reached the model")
    tasks = [(ModelSpec("half", signature="r"), REGRESS_METHOD)]
    for call in (
        lambda: plane.classify(ModelSpec("half"), [b""], 1.5),
        lambda: plane.regress(ModelSpec("half", version=3, signature="r"), [b""], 1.5),
        lambda: plane.multi_inference(tasks, [b""], 1.5),
    ):
        with pytest.raises(DataLossError, match="reached the model"):
            call()
    assert [(signature, timeout_s) for signature, _, _, timeout_s in servable.calls] == [
        ("serving_default", 1.5),
        ("r", 1.5),
        ("r", 1.5),
    ]
    assert models.leased == 0


def test_a_multi_inference_without_tasks_is_refused(plane):
    with pytest.raises(InvalidArgumentError, match=r"ModelSpec has no name specified\."):
        plane.multi_inference([], [b""])


def test_signatures(plane, servable):
    assert plane.signatures(ModelSpec("half")) == (3, servable.signatures)


def test_statuses_ignore_labels(plane):
    assert [status.version for status in plane.statuses(ModelSpec("half", label="no such"))] == [3]
    assert [status.version for status in plane.statuses(ModelSpec("half", version=3))] == [3]


@pytest.mark.parametrize("use", ["predict", "signatures"])
def test_a_request_without_a_model_name_is_refused(plane, use):
    arguments = ({"x": ONE},) if use == "predict" else ()
    with pytest.raises(InvalidArgumentError, match="ModelSpec has no name specified"):
        getattr(plane, use)(ModelSpec(""), *arguments)


def test_an_unknown_signature_is_refused(plane):
    with pytest.raises(FailedPreconditionError, match='Serving signature key "nope" not found'):
        plane.predict(ModelSpec("half", signature="nope"), {"x": ONE})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            "",
            (
                "input size does not match signature: 0!=2 len({}) != len({a,b}). Sent extra: {}. "
                "Missing but required: {a,b}."
            ),
        ),
        (
            "a",
            (
                "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. "
                "Missing but required: {b}."
            ),
        ),
        (
            "abc",
            (
                "input size does not match signature: 3!=2 len({a,b,c}) != len({a,b}). Sent extra: {c}. "
                "Missing but required: {}."
            ),
        ),
        (
            "ac",
            (
                "Signature input alias: b(feed name: b_node:0) not found in request and no default value provided. "
                "Inputs expected to be in the request {a,c}, or default input alias set: "
            ),
        ),
    ],
)
def test_inputs_that_do_not_match_are_refused(two_inputs, inputs, message):
    with pytest.raises(InvalidArgumentError) as failure:
        run_signature(two_inputs, "serving_default", dict.fromkeys(inputs, ONE))
    assert failure.value.message == message
    assert two_inputs.calls == []


def test_a_damaged_default_is_refused(two_inputs):
    two_inputs.signatures["with_default"].defaults["b"].dtype = 99

    with pytest.raises(
        InvalidArgumentError, match="The default value of an input is damaged: tensors of type 99 are not"
    ):
        run_signature(two_inputs, "with_default", {"a": ONE})


def test_missing_inputs_have_their_defaults(two_inputs):
    run_signature(two_inputs, "with_default", {"a": ONE})
    run_signature(two_inputs, "with_default", {"a": ONE, "b": ONE})
    (_, first, _, _), (_, second, _, _) = two_inputs.calls
    assert (first["a"], first["b"]) == (1, 100)
    assert second == {"a": ONE, "b": ONE}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            "b",
            (
                "Signature input alias: a(feed name: a_node:0) not found in request and no default value provided. "
                "Inputs expected to be in the request {b}, or default input alias set: b"
            ),
        ),
        ("ac", "Inputs contains invalid name. Used request inputs: a, request input: a,c"),
        (
            "abc",
            (
                "input size does not match signature: 3!=2 len({a,b,c}) != len({a,b}). Sent extra: {c}. "
                "Missing but required: {}."
            ),
        ),
    ],
)
def test_inputs_that_do_not_match_a_signature_with_a_default_are_refused(two_inputs, inputs, message):
    with pytest.raises(InvalidArgumentError) as failure:
        run_signature(two_inputs, "with_default", dict.fromkeys(inputs, ONE))
    assert failure.value.message == message


def test_a_signature_without_inputs(two_inputs):
    assert run_signature(two_inputs, "no_input", {}) == {"y": 0, "z": 0}


def test_output_filter(two_inputs):
    inputs = {"a": ONE, "b": ONE}
    assert run_signature(two_inputs, "serving_default", inputs).keys() == {"y", "z"}
    assert run_signature(two_inputs, "serving_default", inputs, ["z"]).keys() == {"z"}


@pytest.mark.parametrize(
    ("output_filter", "message"),
    [
        (["nope"], "output tensor alias not found in signature: nope Outputs expected to be in the set {y,z}."),
        (["y", "y"], "duplicate output tensor alias: y"),
    ],
)
def test_invalid_output_filters_are_refused(two_inputs, output_filter, message):
    with pytest.raises(InvalidArgumentError) as failure:
        run_signature(two_inputs, "serving_default", {"a": ONE, "b": ONE}, output_filter)
    assert failure.value.message == message
