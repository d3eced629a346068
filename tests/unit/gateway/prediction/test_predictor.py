import base64
import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.deadline import Deadline, Timings
from gateway.errors import (
    BadRequestError,
    BodyTooLargeError,
    DeadlineExceededError,
    FetchRefusedError,
    GatewayError,
    ImageFormatError,
    ImageTooLargeError,
    ImageUnreadableError,
    ModelFailedError,
    ModelNotFoundError,
    ModelUnavailableError,
    NotExplainableError,
    VersionGoneError,
    VersionNotFoundError,
)
from gateway.model_client.protocol import Array, Signature, TensorSpec
from gateway.models.configured import ConfiguredModels
from gateway.models.registry import ModelRegistry, ModelTarget
from gateway.prediction import schemas
from gateway.prediction.image_loader import ImageBytes, ImageLoader, ImageUrl, translated_image_errors
from gateway.prediction.predictor import (
    MAX_SWAPS,
    PNG_DATA_URI,
    Explain,
    ModelPredictor,
    PredictionOptions,
    PredictionRequest,
    PredictionResult,
)
from tests.support.fake_model_server import FakeModelServer, FakeVersion, classifier, constant, explainable
from vision.card import Card, InputSpec, OutputSpec
from vision.errors import TooManyPixelsError, UnreadableImageError, UnsupportedFormatError

Predict = Callable[..., schemas.Prediction]
PredictAll = Callable[..., PredictionResult]
MAX_PIXELS = 10_000
NEWEST = ModelTarget()


class Library:
    """Return images by URL, or raise the error that a test stores there."""

    def __init__(self) -> None:
        self.shelves: dict[str, bytes | Exception] = {}

    def fetch(self, url: str, *, deadline: Deadline) -> bytes:
        deadline.remaining_s()
        item = self.shelves[url]
        if isinstance(item, Exception):
            raise item
        return item


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def predict_all(server: FakeModelServer, library: Library, tmp_path: Path) -> Iterator[PredictAll]:
    """Classify images, given by bytes or URL, with the fake server's models, at most three in one call to it."""
    models = ConfiguredModels(lambda: dict.fromkeys(server.models, ()))
    registry = ModelRegistry(server, models, cards_dir=tmp_path, status_deadline_s=1)
    image_loader = ImageLoader(library, max_pixels=MAX_PIXELS, fetch_threads=2, decode_threads=2)
    predictor = ModelPredictor(registry, server, image_loader, max_batch_size=3)

    def predict_all(
        *sources: bytes | str | GatewayError,
        target: ModelTarget = NEWEST,
        top_k: int = 5,
        threshold: float | None = None,
        deadline_s: float = 10,
        request_id: str = "",
        timings: Timings | None = None,
        explain: Explain | None = None,
    ) -> PredictionResult:
        kinds = {str: ImageUrl, bytes: ImageBytes}
        images = [kinds[type(source)](source) if type(source) in kinds else source for source in sources]
        options = PredictionOptions(top_k, threshold, explain)
        deadline = Deadline.after(deadline_s)
        return predictor.predict(
            PredictionRequest(images, target, options, deadline, request_id, timings=timings or Timings())
        )

    yield predict_all
    registry.close()


@pytest.fixture
def predict(predict_all: PredictAll) -> Predict:
    """Classify one image, and raise its error if it fails."""

    def predict(source: bytes | str, **options: object) -> schemas.Prediction:
        (prediction,) = predict_all(source, **options).predictions
        if isinstance(prediction, GatewayError):
            raise prediction
        return prediction

    return predict


def encode(pixels: NDArray[np.uint8], suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def ranking(prediction: schemas.Prediction) -> list[tuple[str, int, float]]:
    return [(item["class"], item["class_id"], round(item["score"], 6)) for item in prediction["predictions"]]


def outcomes(result: PredictionResult) -> list[type[Exception] | None]:
    """Return the type of each image's error, None for an image that was classified."""
    return [type(item) if isinstance(item, GatewayError) else None for item in result.predictions]


# Answers


def test_the_best_classes_come_first(predict: Predict, png: bytes):
    answer = predict(png)
    assert ranking(answer) == [("dog", 1, 0.7), ("cat", 0, 0.2), ("fish", 2, 0.1)]
    best = answer["predictions"][0]
    assert (answer["class"], answer["class_id"], answer["score"]) == (best["class"], best["class_id"], best["score"])
    assert "classes" not in answer


def test_the_version_that_answers_is_told(predict_all: PredictAll, png: bytes):
    assert (predict_all(png).model.name, predict_all(png).model.version) == ("pets", 1)


@pytest.mark.parametrize(("top", "count"), [(1, 1), (2, 2), (3, 3), (4, 3), (10**9, 3)])
def test_as_many_classes_as_asked_for_or_as_there_are(predict: Predict, png: bytes, top: int, count: int):
    assert len(predict(png, top_k=top)["predictions"]) == count


def test_a_picture_by_url(predict: Predict, png: bytes, library: Library):
    library.shelves["https://x/"] = png
    assert ranking(predict("https://x/"))[0] == ("dog", 1, 0.7)


def test_the_model_sees_the_pixels_that_the_card_asks_for(predict: Predict, server: FakeModelServer, card: Card):
    seen: list[Array] = []

    def look(images: Array) -> Array:
        seen.append(images)
        return constant(1, 0, 0)(images)

    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
    server.swap("pets", 2, classifier(card, look))
    predict(encode(pixels))
    assert seen[-1].dtype == np.uint8
    np.testing.assert_array_equal(seen[-1], pixels[None, :, :, None])

    coloured = InputSpec(height=2, width=2, color="BGR", dtype="float32", layout="NCHW", std=(255.0,) * 3)
    server.swap("pets", 3, classifier(dataclasses.replace(card, input=coloured), look))
    bgr = np.zeros((2, 2, 3), np.uint8)
    bgr[0, 1] = (255, 51, 0)
    predict(encode(bgr))
    assert seen[-1].dtype == np.float32
    np.testing.assert_allclose(seen[-1], (bgr / 255).transpose(2, 0, 1)[None].astype(np.float32))


@pytest.mark.parametrize(
    ("activation", "scores", "best"),
    [("softmax", (1.0, 3.0, 2.0), 0.665241), ("sigmoid", (-1.0, 0.5, 0.0), 0.622459)],
)
def test_raw_scores_become_probabilities(
    *,
    predict: Predict,
    server: FakeModelServer,
    card: Card,
    png: bytes,
    activation: str,
    scores: tuple[float, ...],
    best: float,
):
    raw = dataclasses.replace(card, output=OutputSpec(name="logits", activation=activation))
    server.swap("pets", 2, classifier(raw, constant(*scores)))
    assert ranking(predict(png))[0] == ("dog", 1, best)


def test_a_multilabel_model_adds_what_is_present(predict: Predict, server: FakeModelServer, card: Card, png: bytes):
    several = dataclasses.replace(card, task="multilabel", threshold=(0.9, 0.5, 0.5))
    server.swap("pets", 2, classifier(several, constant(0.8, 0.6, 0.7)))
    answer = predict(png, top_k=1)
    assert ranking(answer) == [("cat", 0, 0.8)]
    assert [item["class"] for item in answer["classes"]] == ["fish", "dog"]
    server.swap("pets", 3, classifier(several, constant(0.1, 0.2, 0.3)))
    assert predict(png)["classes"] == []


@pytest.mark.parametrize(
    ("threshold", "told"), [(0.0, 3), (0.1, 3), (0.15, 2), (0.2, 2), (0.7, 1), (0.71, 0), (1.0, 0)]
)
def test_a_threshold_leaves_out_what_is_below_it_but_the_best(
    predict: Predict, png: bytes, threshold: float, told: int
):
    answer = predict(png, threshold=threshold)
    assert [item["class"] for item in answer["predictions"]] == ["dog", "cat", "fish"][:told]
    assert answer["class"] == "dog"


def test_a_threshold_takes_the_place_of_a_multilabel_cards_own(
    predict: Predict, server: FakeModelServer, card: Card, png: bytes
):
    several = dataclasses.replace(card, task="multilabel", threshold=(0.9, 0.5, 0.5))
    server.swap("pets", 2, classifier(several, constant(0.8, 0.3, 0.6)))
    answer = predict(png, threshold=0.7)
    assert [item["class"] for item in answer["classes"]] == ["cat"]
    assert [item["class"] for item in answer["predictions"]] == ["cat", "fish", "dog"]


def test_the_model_that_is_named_answers(predict: Predict, server: FakeModelServer, card: Card, png: bytes):
    server.swap("weather", 4, classifier(dataclasses.replace(card, labels=("sun", "rain", "snow")), constant(0, 0, 1)))
    assert ranking(predict(png, target=ModelTarget("weather")))[0][0] == "snow"
    assert ranking(predict(png, target=ModelTarget("pets")))[0][0] == "dog"
    with pytest.raises(ModelNotFoundError):
        predict(png, target=ModelTarget("birds"))


def test_the_request_id_goes_along(predict: Predict, server: FakeModelServer, png: bytes):
    predict(png, request_id="trace-1")
    assert server.request_ids[-1] == "trace-1"


# Models that answer wrongly


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("activation", ["none", "softmax", "sigmoid"])
def test_scores_that_are_no_numbers_are_the_models_fault(
    *, predict: Predict, server: FakeModelServer, card: Card, png: bytes, score: float, activation: str
):
    odd = dataclasses.replace(card, output=OutputSpec(activation=activation))
    server.swap("pets", 2, classifier(odd, constant(0.1, score, 0.2)))
    with pytest.raises(ModelFailedError, match="pets returned scores that cannot be ranked"):
        predict(png)


@pytest.mark.parametrize("shape", [(3,), (1, 2), (1, 4), (2, 3), (1, 1, 3), (0, 3), ()])
def test_scores_of_another_shape_are_the_models_fault(
    predict: Predict, server: FakeModelServer, card: Card, png: bytes, shape: tuple[int, ...]
):
    server.swap("pets", 2, classifier(card, lambda _: np.zeros(shape, np.float32)))
    with pytest.raises(ModelFailedError, match=r"returned the shape \(.*\); expected \(1, 3\)"):
        predict(png)


@pytest.mark.parametrize(
    "failure", [ModelFailedError("f"), ModelUnavailableError("u"), DeadlineExceededError("d")], ids=repr
)
def test_a_failing_server_is_told_as_it_is(predict: Predict, server: FakeModelServer, png: bytes, failure: Exception):
    predict(png)
    server.failures["predict"] = failure
    with pytest.raises(type(failure)):
        predict(png)


# Several at once


def by_lightness(images: Array) -> Array:
    """Say cat of black pictures, dog of white ones."""
    light = images.mean(axis=(1, 2, 3)) / 255
    return np.stack([1 - light, light, np.zeros_like(light)], axis=1).astype(np.float32)


def shade(value: int) -> bytes:
    return encode(np.full((4, 4), value, np.uint8))


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (2, [2]), (3, [3]), (4, [3, 1]), (7, [3, 3, 1])])
def test_a_batch_is_answered_in_order_by_as_few_calls_as_can_be(
    *, predict_all: PredictAll, server: FakeModelServer, card: Card, count: int, sizes: list[int]
):
    calls: list[int] = []

    def scores(images: Array) -> Array:
        calls.append(len(images))
        return by_lightness(images)

    server.swap("pets", 2, classifier(card, scores))
    shades = [51 * (number % 6) for number in range(count)]
    answers = predict_all(*map(shade, shades))
    told = [{item["class"]: item["score"] for item in one["predictions"]}["dog"] for one in answers.predictions]
    assert told == pytest.approx([value / 255 for value in shades])
    assert calls == sizes


def test_a_model_that_takes_one_image_at_a_time_gets_them_so(
    predict_all: PredictAll, server: FakeModelServer, card: Card
):
    made = classifier(card, by_lightness)
    single = Signature({"image": TensorSpec("uint8", (1, 4, 4, 1))}, made.signatures["serving_default"].outputs)
    server.swap("pets", 2, FakeVersion({**made.signatures, "serving_default": single}, made.compute))
    assert [one["class"] for one in predict_all(shade(0), shade(255)).predictions] == ["cat", "dog"]
    assert server.calls["predict"] == 1 + 2


def test_what_is_wrong_with_one_image_stops_no_other(
    predict_all: PredictAll, server: FakeModelServer, library: Library
):
    library.shelves = {"https://x/1": shade(255), "https://x/2": FetchRefusedError("private")}
    unknown = BadRequestError("not base64")
    result = predict_all(shade(0), b"hello", unknown, "https://x/1", "https://x/2", shade(9)[:30], shade(255))
    assert outcomes(result) == [
        None,
        ImageFormatError,
        BadRequestError,
        None,
        FetchRefusedError,
        ImageUnreadableError,
        None,
    ]
    assert server.calls["predict"] == 2  # for the card, and for all three pictures


def test_images_that_are_all_bad_are_told_one_by_one_without_asking_the_model(
    predict_all: PredictAll, server: FakeModelServer
):
    answers = predict_all(b"hello", b"there")
    assert outcomes(answers) == [ImageFormatError] * 2
    assert answers.model.version == 1
    assert server.calls["predict"] == 1  # for the card


def test_scores_of_one_image_that_are_no_numbers_are_its_own_problem(
    predict_all: PredictAll, server: FakeModelServer, card: Card
):
    def scores(images: Array) -> Array:
        found = by_lightness(images)
        found[1, 0] = np.nan
        return found

    server.swap("pets", 2, classifier(card, scores))
    assert outcomes(predict_all(shade(0), shade(1), shade(2))) == [None, ModelFailedError, None]


@pytest.mark.parametrize(
    "failure", [ModelFailedError("f"), ModelUnavailableError("u"), DeadlineExceededError("d")], ids=repr
)
def test_what_fails_for_all_is_told_once(predict_all: PredictAll, server: FakeModelServer, failure: Exception):
    predict_all(shade(0))
    server.failures["predict"] = failure
    with pytest.raises(type(failure)):
        predict_all(shade(0), b"hello")


def test_a_swap_in_the_middle_of_a_batch_has_one_version_answer_all(
    predict_all: PredictAll, server: FakeModelServer, card: Card
):
    def scores_once(images: Array) -> Array:
        server.swap("pets", 2, classifier(dataclasses.replace(card, labels=("a", "b", "c")), by_lightness))
        return by_lightness(images)

    server.swap("pets", 1, classifier(card, scores_once))
    answers = predict_all(*[shade(0)] * 4)  # the second call finds version 1 gone
    assert answers.model.version == 2
    assert [one["class"] for one in answers.predictions] == ["a"] * 4


def test_a_batch_that_comes_too_late_is_dropped(predict_all: PredictAll, server: FakeModelServer, library: Library):
    predict_all(shade(0))
    hanging = threading.Event()

    class Slow:
        def fetch(self, url: str, *, deadline: Deadline) -> bytes:  # noqa: ARG002  # as one that heeds no deadline
            hanging.wait(30)
            return shade(0)

    library.fetch = Slow().fetch  # type: ignore[method-assign]
    try:
        with pytest.raises(DeadlineExceededError, match=r"not answered within 0\.05 s"):
            predict_all(*["https://x/"] * 5, deadline_s=0.05)
    finally:
        hanging.set()
    assert server.calls["predict"] == 2  # the card's, and that of the picture in time


def test_an_image_that_is_not_fetched_in_time_is_its_own_problem(predict_all: PredictAll, library: Library):
    library.shelves = {"https://slow/": DeadlineExceededError("5 s"), "https://x/": shade(0)}
    assert outcomes(predict_all("https://slow/", "https://x/")) == [DeadlineExceededError, None]


def test_the_stages_are_timed(predict_all: PredictAll, library: Library):
    library.shelves["https://x/"] = shade(0)
    timings = Timings()
    predict_all("https://x/", shade(1), timings=timings)
    stages = [entry.partition(";")[0] for entry in timings.header().split(", ")]
    assert stages == ["fetch", "decode", "preprocess", "predict"]


# Explanations


def by_class(images: Array, class_ids: Array) -> Array:
    """Make heat maps of 2 x 3 cells that tell the class asked for, and the lightness of the image."""
    heats = np.zeros((len(images), 2, 3), np.float32)
    heats[:, 0, 0] = class_ids / 10
    heats[:, 1, 2] = images.mean(axis=(1, 2, 3)) / 255
    return heats


def test_the_best_class_of_each_image_is_explained(predict_all: PredictAll, server: FakeModelServer, card: Card):
    server.swap("pets", 2, explainable(card, by_lightness, by_class))
    answers = predict_all(shade(255), b"hello", shade(0), shade(204), shade(51), explain="raw")
    explanations = [one["explanation"] for one in answers.predictions if not isinstance(one, GatewayError)]
    assert outcomes(answers).index(ImageFormatError) == 1
    assert [round(item["heatmap"][0][0], 3) for item in explanations] == [0.1, 0.0, 0.1, 0.0]
    assert [round(item["heatmap"][1][2], 3) for item in explanations] == [1.0, 0.0, 0.8, 0.2]
    assert [(item["height"], item["width"]) for item in explanations] == [(2, 3)] * 4
    assert server.calls["predict"] == 1 + 2 + 2  # the card; three images and one, twice


def test_an_explanation_is_drawn_over_the_image(predict: Predict, server: FakeModelServer, card: Card):
    def cold(images: Array, _: Array) -> Array:
        return np.zeros((len(images), 2, 2), np.float32)

    server.swap("pets", 2, explainable(card, constant(0, 1, 0), cold))
    data_uri = predict(shade(100), explain="image")["explanation"]["heatmap"]
    png = base64.b64decode(data_uri.removeprefix(PNG_DATA_URI))
    drawn = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert (drawn == 100).all()


def test_nothing_is_explained_unless_it_is_asked_for(predict: Predict, server: FakeModelServer, card: Card):
    def refuse(*_: Array) -> Array:
        raise AssertionError

    server.swap("pets", 2, explainable(card, constant(0, 1, 0), refuse))
    assert "explanation" not in predict(shade(0))


def test_images_that_are_all_bad_are_not_explained(predict_all: PredictAll, server: FakeModelServer, card: Card):
    server.swap("pets", 2, explainable(card, constant(0, 1, 0), by_class))
    assert outcomes(predict_all(b"a", b"b", explain="image")) == [ImageFormatError] * 2


@pytest.mark.parametrize("explain", ["image", "raw"])
def test_a_model_that_cannot_explain_is_told_before_anything_is_fetched(
    predict: Predict, library: Library, explain: str
):
    library.shelves["https://x/"] = AssertionError("fetched")
    with pytest.raises(NotExplainableError, match="pets version 1 has no usable signature `explain`"):
        predict("https://x/", explain=explain)


def test_a_version_that_comes_in_the_middle_and_cannot_explain_is_told(
    predict_all: PredictAll, server: FakeModelServer, card: Card
):
    server.swap("pets", 2, explainable(card, constant(0, 1, 0), by_class))
    predict_all(shade(0))
    when_predicting(server, lambda: server.swap("pets", 3, classifier(card, constant(0, 1, 0))))
    with pytest.raises(NotExplainableError, match="pets version 3"):
        predict_all(shade(0), explain="raw")


@pytest.mark.parametrize("shape", [(2, 2), (2, 3, 2, 1), (1, 2, 2), (2,)])
def test_a_heat_map_of_another_shape_is_the_models_fault(
    *, predict_all: PredictAll, server: FakeModelServer, card: Card, shape: tuple[int, ...]
):
    server.swap("pets", 2, explainable(card, by_lightness, lambda *_: np.zeros(shape, np.float32)))
    with pytest.raises(ModelFailedError, match=r"returned the shape \(.*\); expected \(2, None, None\)"):
        predict_all(shade(0), shade(1), explain="raw")


@pytest.mark.parametrize("heat", [np.full((1, 2, 2), np.nan), np.zeros((1, 0, 3))], ids=["no number", "no cell"])
def test_a_heat_map_without_numbers_is_the_models_fault(
    predict: Predict, server: FakeModelServer, card: Card, heat: NDArray[np.float64]
):
    server.swap("pets", 2, explainable(card, by_lightness, lambda *_: heat.astype(np.float32)))
    with pytest.raises(ModelFailedError, match="a heat map that is empty or not of finite numbers"):
        predict(shade(0), explain="image")


def test_heat_beyond_its_range_is_cut_off(predict: Predict, server: FakeModelServer, card: Card):
    server.swap("pets", 2, explainable(card, by_lightness, lambda *_: np.array([[[-0.5, 1.5]]], np.float32)))
    assert predict(shade(0), explain="raw")["explanation"]["heatmap"] == [[0, 1]]


# Versions that are asked for


def test_a_version_that_is_asked_for_answers_by_its_own_card(
    predict_all: PredictAll, server: FakeModelServer, card: Card, png: bytes
):
    larger = dataclasses.replace(card, labels=("a", "b"), input=InputSpec(height=9, width=7))
    server.models["pets"][2] = classifier(larger, constant(0.4, 0.6))
    for version, best in ((1, "dog"), (2, "b")):
        answers = predict_all(png, target=ModelTarget("pets", version=version))
        assert (answers.model.version, answers.predictions[0]["class"]) == (version, best)
    assert predict_all(png).model.version == 2


def test_a_label_answers_as_the_version_that_it_points_to(predict_all: PredictAll, server: FakeModelServer, png: bytes):
    server.models["pets"][2] = server.models["pets"][1]
    server.labels["pets"] = {"stable": 1}
    assert predict_all(png, target=ModelTarget("pets", label="stable")).model.version == 1
    server.labels["pets"] = {"stable": 2}
    assert predict_all(png, target=ModelTarget("pets", label="stable")).model.version == 2


def test_a_label_that_moves_in_the_middle_of_a_request_is_followed(
    predict_all: PredictAll, server: FakeModelServer, png: bytes
):
    server.labels["pets"] = {"stable": 1}
    predict_all(png, target=ModelTarget("pets", label="stable"))

    def move() -> None:
        server.labels["pets"] = {"stable": 2}
        server.swap("pets", 2, server.models["pets"][1])

    when_predicting(server, move)
    assert predict_all(png, target=ModelTarget("pets", label="stable")).model.version == 2


def test_a_version_that_goes_in_the_middle_of_a_request_is_told_with_those_there_are(
    predict_all: PredictAll, server: FakeModelServer, png: bytes
):
    predict_all(png, target=ModelTarget("pets", version=1))
    when_predicting(server, lambda: server.swap("pets", 2, server.models["pets"][1]))
    with pytest.raises(VersionNotFoundError, match=r"No version 1 of pets is served\. Served: 2\."):
        predict_all(png, target=ModelTarget("pets", version=1))


# Versions that change in the middle


def when_predicting(server: FakeModelServer, act: Callable[[], None]) -> None:
    """Act once, at the begin of the next prediction."""

    def once() -> None:
        del server.before["predict"]
        act()

    server.before["predict"] = once


def test_a_swap_in_the_middle_of_a_request_is_lived_through(
    predict_all: PredictAll, server: FakeModelServer, card: Card, png: bytes
):
    assert predict_all(png).model.version == 1
    # The new version wants another size and names its classes otherwise: nothing of the old one may be mixed in.
    larger = dataclasses.replace(card, labels=("a", "b"), input=InputSpec(height=9, width=7))
    when_predicting(server, lambda: server.swap("pets", 2, classifier(larger, constant(0.4, 0.6))))
    answers = predict_all(png)
    assert answers.model.version == 2
    assert ranking(answers.predictions[0]) == [("b", 1, 0.6), ("a", 0, 0.4)]


def test_several_swaps_in_a_row_are_lived_through_up_to_a_point(
    predict_all: PredictAll, server: FakeModelServer, card: Card, png: bytes
):
    def vanishing(version: int, swaps: int) -> None:
        """Serve a version that gives way to the next one as soon as it is asked, so many times."""

        def scores(images: Array) -> Array:
            if swaps == 0:
                return constant(1, 0, 0)(images)
            vanishing(version + 1, swaps - 1)
            raise VersionGoneError("gone")

        server.swap("pets", version, classifier(card, scores))

    vanishing(10, MAX_SWAPS - 1)
    assert predict_all(png).model.version == 10 + MAX_SWAPS - 1
    vanishing(20, MAX_SWAPS - 1)  # and one more: the version known from before is gone as well
    with pytest.raises(ModelUnavailableError, match="versions of pets change faster than a request is answered"):
        predict_all(png)


def test_a_version_that_goes_without_successor(
    predict: Predict, server: FakeModelServer, png: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.models.registry.SWAP_WAIT_S", 0.05)
    predict(png)
    when_predicting(server, server.models["pets"].clear)
    with pytest.raises(ModelUnavailableError, match="no version of pets ready"):
        predict(png)


def test_a_version_that_is_gone_although_status_lists_it(
    predict: Predict, server: FakeModelServer, png: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.models.registry.SWAP_WAIT_S", 0.05)
    predict(png)
    server.failures["predict"] = VersionGoneError("gone")
    with pytest.raises(ModelUnavailableError):
        predict(png)


# Images that are not images


def test_an_unknown_format_is_told_those_that_are_accepted(predict: Predict):
    for data in (b"hello, world", b"\x00", b"%PDF-1.7", b"<svg/>"):
        with pytest.raises(ImageFormatError, match="jpeg, png") as caught:
            predict(data)
        assert "webp" in caught.value.members["accepted"]


def test_more_pixels_than_the_limit_are_told_with_their_number(predict: Predict, server: FakeModelServer):
    with pytest.raises(ImageTooLargeError, match="101 x 100 pixels; at most 10000") as caught:
        predict(encode(np.zeros((100, 101), np.uint8)))
    assert caught.value.members == {"max_pixels": MAX_PIXELS}
    assert predict(encode(np.zeros((100, 100), np.uint8)))
    assert server.calls["predict"] == 2


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_that_is_cut_off_cannot_be_decoded(predict: Predict, suffix: str):
    whole = encode(np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8), suffix)
    assert predict(whole)
    with pytest.raises(ImageUnreadableError, match="cannot be decoded"):
        predict(whole[: len(whole) // 2])


def test_no_bytes_at_all_cannot_be_decoded_either(predict: Predict):
    with pytest.raises(ImageUnreadableError, match="empty"):
        predict(b"")


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (UnsupportedFormatError("x"), ImageFormatError),
        (TooManyPixelsError(5, 6, 7), ImageTooLargeError),
        (UnreadableImageError("x"), ImageUnreadableError),
    ],
    ids=repr,
)
def test_every_image_error_has_one_of_ours(failure: Exception, kind: type[Exception]):
    with pytest.raises(kind) as caught, translated_image_errors(7):
        raise failure
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize("failure", [FetchRefusedError("no"), BodyTooLargeError("big")], ids=repr)
def test_what_the_fetcher_refuses_is_passed_on(predict: Predict, library: Library, failure: Exception):
    library.shelves["https://x/"] = failure
    with pytest.raises(type(failure)):
        predict("https://x/")


# Time


def test_nothing_is_fetched_for_a_model_that_is_not_there(predict: Predict, library: Library):
    library.shelves["https://x/"] = AssertionError("fetched")
    with pytest.raises(ModelNotFoundError):
        predict("https://x/", target=ModelTarget("birds"))


def test_a_passed_deadline_ends_it(predict: Predict, server: FakeModelServer, png: bytes):
    predict(png)
    with pytest.raises(DeadlineExceededError):
        predict(png, deadline_s=0)
    with pytest.raises(DeadlineExceededError):
        predict("https://x/", deadline_s=0)
    assert len(server.request_ids) == 2  # the card's, and the one picture in time
