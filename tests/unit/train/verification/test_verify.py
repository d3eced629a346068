"""What counts as a mismatch, and which responses are errors."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pytest

from image_gateway_client import Answer, ModelVersion, Problem
from image_gateway_client import Prediction as RankedClass
from tests.support.contract_gateway import ContractGateway, Reply, busy
from train.data.examples import Example
from train.errors import TrainError
from train.evaluation.evaluate import Evaluation
from train.export.golden import TOLERANCE
from train.export.precision import Form
from train.verification.verify import Prediction, PredictionError, ServedModel, compare, compare_forms, to_prediction

FIRST, SECOND = frozenset({0}), frozenset({1})
OFFLINE = Evaluation(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), np.eye(2, dtype=bool)[[0, 0]])
SAME = [Prediction(FIRST, np.array([0.9, 0.1], np.float32), 1), Prediction(SECOND, np.array([0.2, 0.8], np.float32), 1)]


def test_equal_predictions_are_not_a_mismatch():
    comparison = compare(SAME, OFFLINE, version=1)

    assert comparison.mismatches == ()
    assert comparison.largest_difference == 0
    assert (comparison.images, comparison.accuracy, comparison.offline_accuracy) == (2, 0.5, 0.5)


def test_a_rounding_difference_is_reported_but_is_not_a_mismatch():
    close = [Prediction(FIRST, np.array([0.9 - TOLERANCE / 2, 0.1], np.float32), 1), SAME[1]]

    comparison = compare(close, OFFLINE, version=1)

    assert comparison.mismatches == ()
    assert comparison.largest_difference == pytest.approx(TOLERANCE / 2, rel=1e-2)


@pytest.mark.parametrize(
    ("prediction", "problem"),
    [
        (Prediction(FIRST, np.array([0.899, 0.101], np.float32), 1), "a probability differs by 0.001"),
        (Prediction(FIRST, np.array([np.nan, 0.1], np.float32), 1), "a probability differs by nan"),
        (Prediction(SECOND, np.array([0.9, 0.1], np.float32), 1), "classes [1], but by its probabilities [0]"),
        (Prediction(FIRST, np.array([0.9, 0.1], np.float32), 2), "version 2 answered, compared with version 1"),
        (PredictionError("timed out"), "timed out"),
    ],
)
def test_every_difference_is_a_mismatch(prediction: Prediction | PredictionError, problem: str):
    comparison = compare([prediction, SAME[1]], OFFLINE, version=1)

    assert [(mismatch.index, mismatch.problem) for mismatch in comparison.mismatches] == [(0, problem)]


def test_an_image_without_a_prediction_counts_as_wrong():
    assert compare([PredictionError("x"), SAME[1]], OFFLINE, version=1).accuracy == 0


def test_equal_classes_of_a_multi_label_model_are_not_a_mismatch():
    offline = dataclasses.replace(OFFLINE, thresholds=np.array([0.2, 0.9], np.float32))
    predictions = [dataclasses.replace(prediction, classes=FIRST) for prediction in SAME]

    comparison = compare(predictions, offline, version=1)

    assert comparison.mismatches == ()
    assert (comparison.accuracy, comparison.offline_accuracy) == (1, 1)


def test_a_missing_class_of_a_multi_label_model_is_a_mismatch():
    offline = dataclasses.replace(OFFLINE, thresholds=np.array([0.2, 0.9], np.float32))
    predictions = [dataclasses.replace(SAME[0], classes=FIRST), dataclasses.replace(SAME[1], classes=frozenset())]

    (mismatch,) = compare(predictions, offline, version=1).mismatches

    assert (mismatch.index, mismatch.problem) == (1, "classes [], but by its probabilities [0]")


def test_classes_that_change_places_within_the_tolerance_are_counted_but_are_not_a_mismatch():
    offline = dataclasses.replace(OFFLINE, probabilities=np.array([[0.55, 0.45], [0.2, 0.8]], np.float32))
    predictions = [Prediction(SECOND, np.array([0.45, 0.55], np.float32), 1), SAME[1]]

    tolerant, strict = (compare(predictions, offline, version=1, tolerance=tolerance) for tolerance in (0.15, 0.05))

    assert (tolerant.mismatches, tolerant.other_classes) == ((), 1)
    assert [mismatch.problem for mismatch in strict.mismatches] == ["a probability differs by 0.1"]


TOLERANCES: Mapping[Form, float] = {"saved_model": TOLERANCE, "tflite": 0.15}


def test_the_form_without_mismatches_is_taken_even_if_the_other_one_is_nearer():
    """Another processor's int8 kernels may be nearer to the SavedModel than to those of the export."""
    int8 = dataclasses.replace(OFFLINE, probabilities=np.array([[0.8, 0.2], [0.2, 0.8]], np.float32))
    served = [Prediction(FIRST, np.array([0.88, 0.12], np.float32), 1), SAME[1]]

    form, comparison = compare_forms(served, {"saved_model": OFFLINE, "tflite": int8}, 1, TOLERANCES)

    assert (form, comparison.mismatches) == ("tflite", ())


def test_of_two_forms_without_mismatches_the_nearest_is_taken():
    int8 = dataclasses.replace(OFFLINE, probabilities=np.array([[0.8, 0.2], [0.2, 0.8]], np.float32))

    assert compare_forms(SAME, {"saved_model": OFFLINE, "tflite": int8}, 1, TOLERANCES)[0] == "saved_model"
    assert compare_forms(SAME, {"saved_model": OFFLINE, "tflite": OFFLINE}, 1, TOLERANCES)[0] == "tflite"


def make_answer(*ranked: tuple[int, float], classes: Sequence[int] | None = None) -> Answer:
    """An answer of the gateway with the classes in order of their scores."""
    predictions = tuple(RankedClass("ab"[class_id], class_id, score) for class_id, score in ranked)
    best = predictions[0]
    predicted = None if classes is None else tuple(RankedClass("ab"[class_id], class_id, 0.5) for class_id in classes)
    return Answer(best.label, best.class_id, best.score, predictions, predicted, ModelVersion("two", 3), "r")


def test_scores_are_ordered_by_class():
    prediction = to_prediction(make_answer((1, 0.75), (0, 0.25)), classes=2)

    assert (prediction.classes, prediction.version) == (SECOND, 3)
    np.testing.assert_array_equal(prediction.probabilities, np.array([0.25, 0.75], np.float32))


@pytest.mark.parametrize("classes", [[], [1], [0, 1]])
def test_a_multi_label_model_predicts_every_class_at_its_threshold(classes: list[int]):
    prediction = to_prediction(make_answer((1, 0.75), (0, 0.25), classes=classes), classes=2)

    assert prediction.classes == frozenset(classes)


@pytest.mark.parametrize(("ranked", "classes"), [([(1, 0.75)], 2), ([(1, 0.75), (0, 0.25)], 1)])
def test_scores_of_fewer_or_more_classes_than_the_model_has_are_an_error(ranked: list, classes: int):
    prediction = to_prediction(make_answer(*ranked), classes=classes)

    assert isinstance(prediction, PredictionError)
    assert f"expected scores of the classes 0 to {classes - 1}" in str(prediction)


def test_a_problem_is_an_error_with_its_status():
    problem = Problem("/problems/unreadable-image", "Unreadable", "The image is cut off", 422)

    assert str(to_prediction(problem, classes=2)) == "422 Unreadable: The image is cut off"


@pytest.fixture
def gateway() -> Iterator[ContractGateway]:
    with ContractGateway() as gateway:
        yield gateway


@pytest.fixture
def make_model(gateway: ContractGateway) -> Callable[..., ServedModel]:
    return partial(ServedModel, gateway.url, "two", classes=2)


def examples(*images: bytes) -> list[Example]:
    return [Example(image, (0,)) for image in images]


def test_the_scores_of_all_classes_are_requested_from_the_model(
    gateway: ContractGateway, make_model: Callable[..., ServedModel]
):
    with make_model() as model:
        (prediction,) = model.classify_all(examples(b"b"), lambda _: None)

    assert prediction.classes == SECOND
    (request,) = gateway.seen
    assert (request.path, request.query["top_k"]) == ("/api/v1/models/two/predict", "2")


def test_predictions_and_failures_keep_the_order_of_the_images(
    gateway: ContractGateway, make_model: Callable[..., ServedModel]
):
    gateway.failing[b"busy"] = 503
    counts = []

    with make_model(connections=3) as model:
        images = [b"busy" if number % 3 == 0 else b"b" for number in range(10)]
        predictions = model.classify_all(examples(*images), counts.append)

    assert [isinstance(item, PredictionError) for item in predictions] == [number % 3 == 0 for number in range(10)]
    assert counts == [1] * 10
    assert str(predictions[0]) == "503 Failed"


def test_a_request_is_repeated_while_the_gateway_is_busy(
    gateway: ContractGateway, make_model: Callable[..., ServedModel]
):
    gateway.script.extend([busy(), busy()])

    with make_model() as model:
        (prediction,) = model.classify_all(examples(b"b"), lambda _: None)

    assert isinstance(prediction, Prediction)


def test_each_image_of_a_batch_has_its_own_outcome(gateway: ContractGateway, make_model: Callable[..., ServedModel]):
    counts = []

    with make_model(connections=1) as model:
        images = [b"b"] * 4 + [b"bad"] + [b"b"] * 2
        predictions = model.classify_all(examples(*images), counts.append, batch_size=3)

    assert [type(item) for item in predictions] == [Prediction] * 4 + [PredictionError] + [Prediction] * 2
    assert counts == [3, 3, 1]
    assert [len(batch) for batch in gateway.batches] == [3, 3, 1]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"7", b"{}"])
def test_a_response_in_another_format_is_an_error(
    gateway: ContractGateway, make_model: Callable[..., ServedModel], body: bytes
):
    gateway.script.append(Reply(body))

    with make_model() as model:
        (prediction,) = model.classify_all(examples(b"b"), lambda _: None)

    assert isinstance(prediction, PredictionError)


def test_an_unreachable_gateway_is_reported_with_its_url():
    with ServedModel("http://127.0.0.1:1", "two", classes=2) as model:
        (prediction,) = model.classify_all(examples(b"b"), lambda _: None)

    assert isinstance(prediction, PredictionError)
    assert "127.0.0.1:1" in str(prediction)


def test_an_invalid_url_is_refused():
    with pytest.raises(TrainError, match="localhost:8080"):
        ServedModel("localhost:8080", "two", classes=2)
