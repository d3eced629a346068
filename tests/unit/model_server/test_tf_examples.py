import numpy as np
import pytest

from model_server.errors import Code, InvalidArgumentError, ServingError
from model_server.tf_examples import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    Classifications,
    ExampleRunner,
    InferenceTask,
    Regressions,
)

STRINGS, FLOATS, MATRIX = ("DT_STRING", [-1]), ("DT_FLOAT", [-1]), ("DT_FLOAT", [-1, -1])
CLASSES = np.array([[b"cat", b"dog"], [b"cat", b"dog"]], object)
SCORES = np.float32([[0.25, 0.75], [1, 0]])
EXAMPLES = (b"first", b"second")


class Model:
    """Returns the outputs that a test sets."""

    def __init__(self, signatures, outputs=None):
        self.signatures = signatures
        self.outputs = outputs or {}
        self.calls = []

    def run(self, signature, inputs, outputs, timeout_s):
        self.calls.append((signature, {name: array.tolist() for name, array in inputs.items()}, outputs, timeout_s))
        return {name: self.outputs[name] for name in outputs}

    def close(self):
        pass


@pytest.fixture
def model(signature_def):
    """Return a function that makes a model with one signature with the given outputs."""

    def make(outputs, values=None, inputs=None):
        signature = signature_def({"inputs": STRINGS} if inputs is None else inputs, outputs)
        return Model({"s": signature}, values)

    return make


def runner(model, examples=EXAMPLES, **options):
    return ExampleRunner(model, examples, **options)


def message_of(call, *arguments):
    with pytest.raises(InvalidArgumentError) as failure:
        call(*arguments)
    return failure.value.message


def test_classes_and_scores(model):
    both = model({"classes": ("DT_STRING", [-1, -1]), "scores": MATRIX}, {"classes": CLASSES, "scores": SCORES})
    result = runner(both, timeout_s=1.5).classify("s")
    assert (result.labels is CLASSES, result.scores is SCORES) == (True, True)
    assert both.calls == [("s", {"inputs": [b"first", b"second"]}, ["classes", "scores"], 1.5)]


def test_classes_without_scores_score_0(model):
    result = runner(model({"classes": ("DT_STRING", [-1, -1])}, {"classes": CLASSES})).classify("s")
    np.testing.assert_array_equal(result.scores, np.zeros((2, 2), np.float32), strict=True)


def test_scores_without_classes_have_empty_labels(model):
    result = runner(model({"scores": MATRIX}, {"scores": SCORES})).classify("s")
    assert result.labels.tolist() == [[b"", b""], [b"", b""]]


def test_other_outputs_are_not_computed(model):
    with_more = model({"scores": MATRIX, "logits": MATRIX}, {"scores": SCORES})
    runner(with_more).classify("s")
    assert with_more.calls[0][2] == ["scores"]


@pytest.mark.parametrize("values", [np.float32([1.5, -2]), np.float32([[1.5], [-2]])])
def test_values(model, values):
    result = runner(model({"outputs": FLOATS}, {"outputs": values})).regress("s")
    np.testing.assert_array_equal(result.values, np.float32([1.5, -2]), strict=True)


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_an_empty_list_of_examples_is_refused(model, method):
    served = model({"scores" if method == "classify" else "outputs": FLOATS})
    assert message_of(getattr(runner(served, ()), method), "s") == "Input is empty."
    assert served.calls == []


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_an_unknown_signature_is_refused(model, method):
    call = getattr(runner(model({"outputs": FLOATS})), method)
    assert message_of(call, "nope") == "No signature was found with the name: nope"


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({}, {"scores": MATRIX}, "Expected one input Tensor."),
        ({"inputs": STRINGS, "more": STRINGS}, {"scores": MATRIX}, "Expected one input Tensor."),
        ({"inputs": STRINGS}, {}, "Expected one or two output Tensors, found 0"),
        ({"inputs": STRINGS}, dict.fromkeys("abc", MATRIX), "Expected one or two output Tensors, found 3"),
        ({"x": STRINGS}, {"scores": MATRIX}, "No classification inputs found in SignatureDef: inputs {\n  key: "),
        (
            {"inputs": STRINGS},
            {"probs": MATRIX},
            (
                'Expected classification signature outputs to contain at least one of "classes" or "scores". '
                "Signature was: inputs {\n"
            ),
        ),
    ],
)
def test_signatures_that_do_not_classify_are_refused(model, inputs, outputs, message):
    assert message_of(runner(model(outputs, inputs=inputs)).classify, "s").startswith(message)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({"inputs": STRINGS, "more": STRINGS}, {"outputs": FLOATS}, "Expected one input Tensor."),
        ({"inputs": STRINGS}, {"outputs": FLOATS, "more": FLOATS}, "Expected one output Tensor."),
        ({"x": STRINGS}, {"outputs": FLOATS}, "No regression inputs found in SignatureDef: inputs {\n"),
        ({"inputs": STRINGS}, {"y": FLOATS}, "No regression outputs found in SignatureDef: inputs {\n"),
    ],
)
def test_signatures_that_do_not_regress_are_refused(model, inputs, outputs, message):
    assert message_of(runner(model(outputs, inputs=inputs)).regress, "s").startswith(message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scores": SCORES[0]}, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ({"scores": SCORES.astype(int)}, "Expected scores Tensor of DT_FLOAT. Got: DT_INT64"),
        ({"scores": SCORES[:1]}, "Expected scores output batch size of 2. Got: 1"),
        ({"classes": SCORES}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ({"classes": CLASSES[:1]}, "Expected classes output batch size of 2. Got: 1"),
        (
            {"classes": CLASSES[:, :1], "scores": SCORES},
            "Tensors class and score should match in dim_size(1). Got 1 vs. 2",
        ),
    ],
)
def test_outputs_that_are_not_classes_are_refused(model, values, message):
    names = {"object": "DT_STRING", "float32": "DT_FLOAT", "int64": "DT_INT64"}
    outputs = {alias: (names[array.dtype.name], [-1]) for alias, array in values.items()}
    assert message_of(runner(model(outputs, values)).classify, "s") == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.float32(1),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []",
        ),
        (SCORES, "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]"),
        (np.float32([1]), "Input batch size did not match output batch size: 2 vs. 1"),
        (np.int64([1, 2]), "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"),
    ],
)
def test_outputs_that_are_not_values_are_refused(model, values, message):
    data_type = "DT_INT64" if values.dtype == np.int64 else "DT_FLOAT"
    served = model({"outputs": (data_type, [-1])}, {"outputs": np.asarray(values)})
    assert message_of(runner(served).regress, "s") == message


def test_method_names_are_checked_on_request(model):
    served = model({"scores": MATRIX}, {"scores": SCORES})
    served.signatures["s"].method_name = "tensorflow/serving/predict"
    assert runner(served).classify("s")
    assert message_of(runner(served, check_method_names=True).classify, "s") == (
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict"
    )
    assert message_of(runner(served, check_method_names=True).regress, "s") == (
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: tensorflow/serving/predict"
    )
    served.signatures["s"].method_name = CLASSIFY_METHOD
    assert runner(served, check_method_names=True).classify("s")


@pytest.fixture
def two(signature_def):
    """Return a model that classifies and regresses."""
    signatures = {
        "c": signature_def({"inputs": STRINGS}, {"scores": MATRIX}),
        "r": signature_def({"inputs": STRINGS}, {"outputs": FLOATS}),
    }
    return Model(signatures, {"scores": SCORES, "outputs": np.float32([1, 2])})


def test_several_tasks_return_their_results_in_order(two):
    tasks = [InferenceTask("m", "r", REGRESS_METHOD), InferenceTask("m", "c", CLASSIFY_METHOD)]
    first, second = runner(two).infer(tasks)
    assert (type(first), type(second)) == (Regressions, Classifications)
    assert runner(two).infer([]) == []


@pytest.mark.parametrize(
    ("task", "message", "code"),
    [
        (InferenceTask("m", "r", REGRESS_METHOD), "Duplicate evaluation of signature: r", Code.INVALID_ARGUMENT),
        (
            InferenceTask("other", "c", CLASSIFY_METHOD),
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
            Code.INVALID_ARGUMENT,
        ),
        (InferenceTask("", "c", CLASSIFY_METHOD), "Found ModelSpec with an empty model name.", Code.INVALID_ARGUMENT),
        (
            InferenceTask("m", "nope", CLASSIFY_METHOD),
            "Requested signature not found in model graph: nope",
            Code.INVALID_ARGUMENT,
        ),
        (
            InferenceTask("m", "c", "tensorflow/serving/predict"),
            "Unsupported signature method_name: tensorflow/serving/predict",
            Code.UNIMPLEMENTED,
        ),
        (InferenceTask("m", "c", REGRESS_METHOD), "No regression outputs found in SignatureDef", Code.INVALID_ARGUMENT),
    ],
)
def test_an_invalid_task_prevents_all_computations(two, task, message, code):
    with pytest.raises(ServingError) as failure:
        runner(two).infer([InferenceTask("m", "r", REGRESS_METHOD), task])
    assert failure.value.message.startswith(message)
    assert failure.value.code is code
    assert two.calls == []
