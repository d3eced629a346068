import base64
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.capacity import Admission, MemoryBudget
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
    ModelContractError,
    ModelFailedError,
    ModelNotFoundError,
    ModelUnavailableError,
    NotExplainableError,
    OverloadedError,
    VersionGoneError,
    VersionNotFoundError,
)
from gateway.fetching.fetcher import Allowance
from gateway.fetching.pool import FetchPool
from gateway.model_client.protocol import Array, Signature, TensorSpec
from gateway.models.configured import ConfiguredModels
from gateway.models.registry import ModelRegistry, ModelTarget
from gateway.prediction import schemas
from gateway.prediction.decoders import DecoderLimits, Decoders
from gateway.prediction.image_loader import (
    ImageBytes,
    ImageLoader,
    ImagePixels,
    ImageUrl,
    PixelLimits,
    translated_image_errors,
)
from gateway.prediction.predictor import (
    MAX_SWAPS,
    PNG_DATA_URI,
    Explain,
    ModelPredictor,
    PredictionOptions,
    PredictionRequest,
    PredictionResult,
)
from tests.support.fake_model_server import (
    INSPECTION_CALLS,
    FakeModelServer,
    FakeVersion,
    after_check,
    classifier,
    constant,
    explainable,
    image_signature,
    score_lightness,
)
from tests.support.fetching import pool_limits
from vision.card import Card, InputSpec, OutputSpec
from vision.errors import OutOfMemoryError, TooManyPixelsError, UnreadableImageError, UnsupportedFormatError
from vision.isolation.errors import DecoderCrashedError, DecoderUnavailableError, DecodingTimeoutError
from vision.isolation.pool import DecoderPool
from vision.probes import NAMES

Predict = Callable[..., schemas.Prediction]
PredictAll = Callable[..., PredictionResult]
MAX_PIXELS = 10_000
NEWEST = ModelTarget()


class StubFetcher:
    """Returns the image that a test stores for a URL, or raises the error stored there."""

    def __init__(self) -> None:
        self.responses: dict[str, bytes | Exception] = {}

    def fetch(self, url: str, *, deadline: Deadline, allowance: Allowance, **_: object) -> bytes:
        deadline.remaining_s()
        response = self.responses[url]
        if isinstance(response, Exception):
            raise response
        allowance.take(len(response))
        return response


@pytest.fixture
def fetcher() -> StubFetcher:
    return StubFetcher()


@pytest.fixture
def predict_all(server: FakeModelServer, fetcher: StubFetcher, tmp_path: Path) -> Iterator[PredictAll]:
    """Classify images, given by bytes or URL, with the fake server's models, at most three in one call to it."""
    models = ConfiguredModels(lambda: dict.fromkeys(server.models, ()))
    registry = ModelRegistry(server, models, cards_dir=tmp_path, status_deadline_s=1)
    decoders = DecoderPool(processes=1, max_memory_bytes=1 << 30, max_pixels=MAX_PIXELS)
    memory_budget = MemoryBudget(1 << 30, places=8, max_wait_s=0)
    image_loader = ImageLoader(
        FetchPool(fetcher, pool_limits(threads=2)),
        decoders=Decoders(decoders, DecoderLimits(processes=1, deadline_s=10)),
        limits=PixelLimits(MAX_PIXELS, inline_max_pixels=MAX_PIXELS),
        decode_threads=2,
        memory=memory_budget,
    )
    admission = Admission(memory_budget, slots=4, max_waiting=4, max_wait_s=10, max_download_bytes=1_000_000)
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
        place = admission.enter(deadline=deadline)
        try:
            return predictor.predict(
                PredictionRequest(
                    images, target, options, deadline, request_id, timings=timings or Timings(), place=place
                )
            )
        finally:
            place.release()

    yield predict_all
    registry.close()
    decoders.close()


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


# Predictions


def test_classes_are_ranked_by_their_scores(predict: Predict, png: bytes):
    prediction = predict(png)

    assert ranking(prediction) == [("dog", 1, 0.7), ("cat", 0, 0.2), ("fish", 2, 0.1)]
    best = prediction["predictions"][0]
    assert (prediction["class"], prediction["class_id"], prediction["score"]) == (
        best["class"],
        best["class_id"],
        best["score"],
    )
    assert "classes" not in prediction


def test_the_result_names_the_version_that_was_used(predict_all: PredictAll, png: bytes):
    assert (predict_all(png).model.name, predict_all(png).model.version) == ("pets", 1)


def test_top_k_limits_the_number_of_classes(predict: Predict, png: bytes):
    for top_k, count in ((1, 1), (2, 2), (3, 3), (4, 3), (10**9, 3)):
        assert len(predict(png, top_k=top_k)["predictions"]) == count, top_k


def test_an_image_url_is_fetched(predict: Predict, png: bytes, fetcher: StubFetcher):
    fetcher.responses["https://x/"] = png
    assert ranking(predict("https://x/"))[0] == ("dog", 1, 0.7)


def test_pixels_stand_beside_files_and_reach_the_model_as_they_are(
    predict_all: PredictAll, server: FakeModelServer, card: Card, png: bytes
):
    server.swap("pets", 1, classifier(card, score_lightness))
    dark, light = (ImagePixels(np.full((4, 4, 1), tone, np.uint8)) for tone in (0, 255))

    result = predict_all(dark, png, BadRequestError("bad"), light)

    assert outcomes(result) == [None, None, BadRequestError, None]
    assert [result.predictions[index]["class"] for index in (0, 3)] == ["fish", "cat"]


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 1))])
def test_pixels_that_are_not_a_row_of_the_input_are_refused(
    predict_all: PredictAll, server: FakeModelServer, png: bytes, pixels: Array
):
    predict_all(png)
    calls = server.calls["predict"]

    with pytest.raises(BadRequestError, match=r"An image of pets version 1 is uint8\[4, 4, 1\], not "):
        predict_all(png, ImagePixels(pixels))

    assert server.calls["predict"] == calls


def test_pixels_have_a_size():
    options = PredictionOptions(top_k=1)
    images = [
        ImagePixels(np.zeros((4, 4, 1), np.float32)),
        ImageBytes(b"abc"),
        ImageUrl("https://a/"),
        OverloadedError(""),
    ]

    assert PredictionRequest(images, NEWEST, options, Deadline.after(1)).size == 64 + 3


def test_pixels_are_not_explained(predict_all: PredictAll, server: FakeModelServer, card: Card, png: bytes):
    heat = lambda images, _: np.zeros((len(images), 4, 4), np.float32)  # noqa: E731
    server.swap("pets", 1, explainable(card, constant(0.2, 0.7, 0.1), heat))

    pixels, file = predict_all(ImagePixels(np.zeros((4, 4, 1), np.uint8)), png, explain="image").predictions

    assert ("explanation" in pixels, "explanation" in file) == (False, True)


def test_the_image_is_prepared_as_the_card_describes(predict: Predict, server: FakeModelServer, card: Card):
    inputs: list[Array] = []

    def record(images: Array) -> Array:
        inputs.append(images)
        return constant(1, 0, 0)(images)

    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
    server.swap("pets", 2, classifier(card, record))

    predict(encode(pixels))

    assert inputs[-1].dtype == np.uint8
    np.testing.assert_array_equal(inputs[-1], pixels[None, :, :, None])

    coloured = InputSpec(height=2, width=2, color="BGR", dtype="float32", layout="NCHW", std=(255.0,) * 3)
    server.swap("pets", 3, classifier(dataclasses.replace(card, input=coloured), record))
    bgr = np.zeros((2, 2, 3), np.uint8)
    bgr[0, 1] = (255, 51, 0)

    predict(encode(bgr))

    assert inputs[-1].dtype == np.float32
    np.testing.assert_allclose(inputs[-1], (bgr / 255).transpose(2, 0, 1)[None].astype(np.float32))


def test_images_are_sent_as_the_signature_takes_them(predict_all: PredictAll, server: FakeModelServer, card: Card):
    """Models that a card describes by pixels may take them flat, in other types, or as encoded images."""

    def decode(files: Array) -> Array:
        return np.stack([cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE) for file in files])

    for version, (dtype, shape, to_pixels) in enumerate(
        [("int64", (None, 16), np.asarray), ("uint8", (None, 4, 4), np.asarray), ("string", (None,), decode)], start=2
    ):
        base = classifier(card, after_check(lambda rows, to_pixels=to_pixels: by_lightness(to_image(to_pixels(rows)))))
        foreign = Signature({"image": TensorSpec(dtype, shape)}, base.signatures["serving_default"].outputs)
        server.swap("pets", version, FakeVersion({**base.signatures, "serving_default": foreign}, base.compute))

        result = predict_all(shade(255), shade(0), shade(255), shade(0))

        assert result.model.version == version
        assert [item["class"] for item in result.predictions] == ["dog", "cat", "dog", "cat"], dtype


def to_image(rows: Array) -> Array:
    return rows.reshape(-1, 4, 4, 1)


def test_one_score_of_two_labels_is_the_probability_of_the_second(
    predict: Predict, server: FakeModelServer, card: Card, png: bytes
):
    binary = dataclasses.replace(card, labels=("cat", "dog"))
    base = classifier(binary, constant(0.25))
    shapes = (
        ((None, 1), (1,)),
        ((None,), ()),
        ((None, 1, 1, 1), (1, 1, 1)),
        ((None, None), (1,)),
        (None, (1,)),
        (None, ()),
    )
    for version, (shape, row) in enumerate(shapes, start=2):
        signature = Signature(image_signature(card).inputs, {"probabilities": TensorSpec("float32", shape)})

        def compute_rows(inputs: Mapping[str, Array], row: tuple[int, ...] = row) -> Mapping[str, Array]:
            return {"probabilities": np.full((len(inputs["image"]), *row), 0.25, np.float32)}

        compute = {**base.compute, "serving_default": compute_rows}
        server.swap("pets", version, FakeVersion({**base.signatures, "serving_default": signature}, compute))

        assert ranking(predict(png)) == [("cat", 0, 0.75), ("dog", 1, 0.25)], shape


def test_scores_that_do_not_add_up_are_an_error_of_the_model(
    predict: Predict, server: FakeModelServer, card: Card, png: bytes
):
    server.swap("pets", 2, classifier(card, after_check(constant(0.5, 0.5, 0.5))))
    with pytest.raises(ModelContractError, match=r"The scores of an image add up to 1\.500, not to 1\. If they"):
        predict(png)


def test_logits_become_probabilities(predict: Predict, server: FakeModelServer, card: Card, png: bytes):
    for version, activation, scores, best in (
        (2, "softmax", (1.0, 3.0, 2.0), 0.665241),
        (3, "sigmoid", (-1.0, 0.5, 0.0), 0.622459),
    ):
        with_logits = dataclasses.replace(card, output=OutputSpec(name="logits", activation=activation))
        server.swap("pets", version, classifier(with_logits, constant(*scores)))
        assert ranking(predict(png))[0] == ("dog", 1, best), activation


def test_a_multilabel_prediction_lists_the_classes_at_or_above_the_threshold(
    predict: Predict, server: FakeModelServer, card: Card, png: bytes
):
    multilabel = dataclasses.replace(card, task="multilabel", threshold=(0.9, 0.5, 0.5))
    server.swap("pets", 2, classifier(multilabel, constant(0.8, 0.6, 0.7)))

    prediction = predict(png, top_k=1)

    assert ranking(prediction) == [("cat", 0, 0.8)]
    assert [item["class"] for item in prediction["classes"]] == ["fish", "dog"]

    server.swap("pets", 3, classifier(multilabel, constant(0.1, 0.2, 0.3)))
    assert predict(png)["classes"] == []


def test_a_threshold_removes_classes_from_the_ranking(predict: Predict, png: bytes):
    for threshold, count in ((0.0, 3), (0.1, 3), (0.15, 2), (0.2, 2), (0.7, 1), (0.71, 0), (1.0, 0)):
        prediction = predict(png, threshold=threshold)
        assert [item["class"] for item in prediction["predictions"]] == ["dog", "cat", "fish"][:count], threshold
        assert prediction["class"] == "dog", threshold  # the best class stays


def test_a_threshold_replaces_that_of_a_multilabel_card(
    predict: Predict, server: FakeModelServer, card: Card, png: bytes
):
    multilabel = dataclasses.replace(card, task="multilabel", threshold=(0.9, 0.5, 0.5))
    server.swap("pets", 2, classifier(multilabel, constant(0.8, 0.3, 0.6)))

    prediction = predict(png, threshold=0.7)

    assert [item["class"] for item in prediction["classes"]] == ["cat"]
    assert [item["class"] for item in prediction["predictions"]] == ["cat", "fish", "dog"]


def test_a_prediction_is_confident_from_the_threshold_of_the_card_on(
    predict: Predict, server: FakeModelServer, card: Card, png: bytes
):
    assert "confident" not in predict(png), "the card has no threshold"

    for version, abstain_below, confident in ((2, 0.0, True), (3, 0.7, True), (4, 0.71, False), (5, 1.0, False)):
        careful = dataclasses.replace(card, abstain_below=abstain_below)
        server.swap("pets", version, classifier(careful, constant(0.1, 0.7, 0.2)))
        prediction = predict(png, top_k=1)

        assert prediction["confident"] is confident, abstain_below
        assert (prediction["class"], round(prediction["score"], 6)) == ("dog", 0.7)


def test_the_confidence_that_a_model_computes_is_compared_instead_of_the_score(
    predict_all: PredictAll, server: FakeModelServer, card: Card
):
    careful = dataclasses.replace(card, abstain_below=0.5, output=OutputSpec(confidence="certainty"))
    lightness = lambda images: images.reshape(len(images), -1).mean(axis=1) / np.float32(255)  # noqa: E731
    server.swap("pets", 2, classifier(careful, constant(0.1, 0.7, 0.2), confidence=lightness))
    dark, light = (encode(np.full((4, 4), level, np.uint8)) for level in (100, 150))

    result = predict_all(dark, light, BadRequestError("damaged"), light, dark)

    predictions = [item for item in result.predictions if not isinstance(item, GatewayError)]
    assert [item["confident"] for item in predictions] == [False, True, True, False]
    assert {ranking(item)[0] for item in predictions} == {("dog", 1, 0.7)}


def test_a_confidence_that_is_not_a_number_is_not_confident(
    predict: Predict, server: FakeModelServer, card: Card, png: bytes
):
    careful = dataclasses.replace(card, abstain_below=0.0, output=OutputSpec(confidence="certainty"))
    nothing = constant(np.nan)
    server.swap("pets", 2, classifier(careful, constant(0.1, 0.7, 0.2), confidence=nothing))

    assert predict(png)["confident"] is False


def test_a_model_without_one_confidence_per_image_has_failed(
    predict: Predict, server: FakeModelServer, card: Card, png: bytes
):
    careful = dataclasses.replace(card, abstain_below=0.5, output=OutputSpec(confidence="certainty"))
    server.swap("pets", 2, classifier(careful, constant(0.1, 0.7, 0.2), confidence=constant(0.1, 0.2)))

    with pytest.raises(ModelFailedError, match=r"pets returned .* expected one confidence per image"):
        predict(png)


def test_the_targeted_model_is_used(predict: Predict, server: FakeModelServer, card: Card, png: bytes):
    server.swap("weather", 4, classifier(dataclasses.replace(card, labels=("sun", "rain", "snow")), constant(0, 0, 1)))
    assert ranking(predict(png, target=ModelTarget("weather")))[0][0] == "snow"
    assert ranking(predict(png, target=ModelTarget("pets")))[0][0] == "dog"
    with pytest.raises(ModelNotFoundError):
        predict(png, target=ModelTarget("birds"))


def test_the_request_id_is_sent_to_the_model_server(predict: Predict, server: FakeModelServer, png: bytes):
    predict(png, request_id="trace-1")
    assert server.request_ids[-1] == "trace-1"


# Faulty models


def test_a_version_that_answers_with_logits_answers_no_more(
    predict_all: PredictAll, server: FakeModelServer, card: Card
):
    def logits_for_light(images: Array) -> Array:
        return by_lightness(images) * np.where(images.max(axis=(1, 2, 3)) == 255, 3, 1)[:, None].astype(np.float32)

    server.models["pets"][2] = classifier(card, after_check(logits_for_light))

    result = predict_all(shade(0), shade(255))

    assert (result.model.version, outcomes(result)) == (2, [None, ModelContractError])
    assert predict_all(shade(0)).model.version == 1, "an older version replaces it"
    del server.models["pets"][1]
    with pytest.raises(ModelContractError, match=r"^pets version 2 cannot be used\..*If they are logits"):
        predict_all(shade(0))


def test_scores_that_are_not_finite_are_an_error_of_the_model(
    predict: Predict, server: FakeModelServer, card: Card, png: bytes
):
    for activation in ("none", "softmax", "sigmoid"):
        faulty = dataclasses.replace(card, output=OutputSpec(activation=activation))
        for score in (float("nan"), float("inf"), float("-inf")):
            server.swap("pets", max(server.models["pets"]) + 1, classifier(faulty, constant(0.1, score, 0.2)))
            with pytest.raises(
                ModelFailedError,
                match=r"^pets version \d+ cannot classify an image\. The model returned .* NaN or infinite\. Comp",
            ):
                pytest.fail(f"{activation}, {score}: {predict(png)}")


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("explain", [None, "raw"])
def test_scores_that_are_not_probabilities_are_an_error_of_the_model(
    predict: Predict,
    server: FakeModelServer,
    card: Card,
    task: Literal["multiclass", "multilabel"],
    explain: Explain | None,
):
    card = dataclasses.replace(card, task=task)
    for scores in ((0.1, 1e30, 0.2), (0.1, -5, 0.2), (3.5, 1.2, -7)):
        server.swap("pets", max(server.models["pets"]) + 1, explainable(card, after_check(constant(*scores)), by_class))
        with pytest.raises(
            ModelContractError,
            match=r"from 0 to 1\. If they are logits, export it again with .*\"activation\"",
        ):
            pytest.fail(f"{scores}: {predict(shade(0), explain=explain)}")


def test_scores_of_another_type_than_the_signature_says_are_an_error_of_the_model(
    predict: Predict, server: FakeModelServer, card: Card
):
    for scores in (np.array([[0, 1, 0]]), np.array([[b"0", b"1", b"0"]], object), np.array([[False, True, False]])):
        server.swap("pets", max(server.models["pets"]) + 1, classifier(card, lambda _, scores=scores: scores))
        with pytest.raises(ModelFailedError, match="expected floating-point numbers"):
            pytest.fail(f"{scores}: {predict(shade(0))}")


def test_scores_of_a_wrong_shape_are_an_error_of_the_model(
    predict: Predict, server: FakeModelServer, card: Card, png: bytes
):
    for shape in ((3,), (1, 2), (1, 4), (2, 3), (1, 1, 3), (0, 3), ()):
        scores = np.zeros(shape, np.float32)
        server.swap("pets", max(server.models["pets"]) + 1, classifier(card, lambda _, scores=scores: scores))
        with pytest.raises(ModelFailedError, match=r"returned .*\[.*\]; expected .*\[1, 3\]"):
            pytest.fail(f"{shape}: {predict(png)}")


def test_an_error_of_the_model_server_is_the_error_of_the_request(
    predict_all: PredictAll, server: FakeModelServer, png: bytes
):
    predict_all(png)
    for error in (ModelFailedError("f"), ModelUnavailableError("u"), DeadlineExceededError("d")):
        server.failures["predict"] = error
        for images in ([png], [png, b"hello"]):
            with pytest.raises(type(error)):
                pytest.fail(f"{error!r}: {predict_all(*images)}")


def test_an_error_carries_the_version_that_was_used(
    predict_all: PredictAll, server: FakeModelServer, fetcher: StubFetcher, png: bytes
):
    def model_version(*images: bytes | str, **options: object) -> tuple[str, int] | None:
        with pytest.raises(GatewayError) as caught:
            predict_all(*images, **options)
        return caught.value.model_version

    assert model_version(png, target=ModelTarget("birds")) is None  # no version was resolved
    server.failures["predict"] = ModelUnavailableError("away")
    assert model_version(png) is None  # its card could not be read

    server.failures.clear()
    predict_all(png)
    assert model_version(png, explain="raw") == ("pets", 1)
    fetcher.responses = {"https://x/": AssertionError("fetched")}
    assert model_version("https://x/", deadline_s=0) == ("pets", 1)
    server.failures["predict"] = ModelFailedError("out of memory")
    assert model_version(png) == ("pets", 1)


def test_an_error_after_a_swap_carries_the_new_version(
    predict_all: PredictAll, server: FakeModelServer, card: Card, png: bytes
):
    def fail(_: Array) -> Array:
        raise ModelFailedError("out of memory")

    predict_all(png)
    when_predicting(server, lambda: server.swap("pets", 2, classifier(card, after_check(fail))))

    with pytest.raises(ModelFailedError) as caught:
        predict_all(png)

    assert caught.value.model_version == ("pets", 2)


# Batches


def by_lightness(images: Array) -> Array:
    """Score dark images as cats and light ones as dogs."""
    lightness = images.mean(axis=(1, 2, 3)) / 255
    return np.stack([1 - lightness, lightness, np.zeros_like(lightness)], axis=1).astype(np.float32)


def shade(value: int) -> bytes:
    return encode(np.full((4, 4), value, np.uint8))


def test_a_batch_is_split_into_as_few_calls_as_possible(predict_all: PredictAll, server: FakeModelServer, card: Card):
    calls: list[int] = []

    def scores(images: Array) -> Array:
        calls.append(len(images))
        return by_lightness(images)

    server.swap("pets", 2, classifier(card, scores))
    predict_all(shade(0))

    for count, sizes in ((1, [1]), (2, [2]), (3, [3]), (4, [3, 1]), (7, [3, 3, 1])):
        shades = [51 * (number % 6) for number in range(count)]
        calls.clear()

        result = predict_all(*map(shade, shades))

        dog_scores = [score for item in result.predictions for name, _, score in ranking(item) if name == "dog"]
        assert dog_scores == pytest.approx([value / 255 for value in shades], abs=1e-6), count
        assert calls == sizes, count


def test_a_model_without_batches_gets_one_image_in_each_call(
    predict_all: PredictAll, server: FakeModelServer, card: Card
):
    batched = classifier(card, by_lightness)
    single = Signature({"image": TensorSpec("uint8", (1, 4, 4, 1))}, batched.signatures["serving_default"].outputs)
    server.swap("pets", 2, FakeVersion({**batched.signatures, "serving_default": single}, batched.compute))
    assert [item["class"] for item in predict_all(shade(0), shade(255)).predictions] == ["cat", "dog"]
    checks = len(NAMES)  # one image in each of them too
    assert server.calls["predict"] == 1 + checks + 2


def test_an_error_of_one_image_does_not_affect_the_others(
    predict_all: PredictAll, server: FakeModelServer, fetcher: StubFetcher
):
    fetcher.responses = {"https://x/1": shade(255), "https://x/2": FetchRefusedError("private")}
    invalid = BadRequestError("not base64")

    result = predict_all(shade(0), b"hello", invalid, "https://x/1", "https://x/2", shade(9)[:30], shade(255))

    assert outcomes(result) == [
        None,
        ImageFormatError,
        BadRequestError,
        None,
        FetchRefusedError,
        ImageUnreadableError,
        None,
    ]
    assert server.calls["predict"] == INSPECTION_CALLS + 1  # all three images


def test_a_batch_of_only_errors_does_not_call_the_model(predict_all: PredictAll, server: FakeModelServer):
    result = predict_all(b"hello", b"there")

    assert outcomes(result) == [ImageFormatError] * 2
    assert result.model.version == 1
    assert server.calls["predict"] == INSPECTION_CALLS


def test_scores_that_are_not_finite_are_the_error_of_their_image_only(
    predict_all: PredictAll, server: FakeModelServer, card: Card
):
    def scores(images: Array) -> Array:
        rows = by_lightness(images)
        rows[1, 0] = np.nan
        return rows

    server.swap("pets", 2, classifier(card, after_check(scores)))
    assert outcomes(predict_all(shade(0), shade(1), shade(2))) == [None, ModelFailedError, None]


def test_all_images_of_a_batch_are_classified_by_one_version_after_a_swap(
    predict_all: PredictAll, server: FakeModelServer, card: Card
):
    def scores_once(images: Array) -> Array:
        server.swap("pets", 2, classifier(dataclasses.replace(card, labels=("a", "b", "c")), by_lightness))
        return by_lightness(images)

    server.swap("pets", 1, classifier(card, after_check(scores_once)))

    result = predict_all(*[shade(0)] * 4)  # version 1 is gone in the second call

    assert result.model.version == 2
    assert [item["class"] for item in result.predictions] == ["a"] * 4


def test_a_batch_ends_at_the_deadline_although_fetches_hang(
    predict_all: PredictAll, server: FakeModelServer, fetcher: StubFetcher
):
    predict_all(shade(0))
    unblock = threading.Event()

    def hang(url: str, **_: object) -> bytes:  # noqa: ARG001  # it ignores the deadline
        unblock.wait(30)
        return shade(0)

    fetcher.fetch = hang  # type: ignore[method-assign]
    try:
        with pytest.raises(DeadlineExceededError, match=r"not answered within 0\.05 s"):
            predict_all(*["https://x/"] * 5, deadline_s=0.05)
    finally:
        unblock.set()
    assert server.calls["predict"] == INSPECTION_CALLS + 1  # the first image


def test_an_image_that_is_not_fetched_in_time_does_not_affect_the_others(predict_all: PredictAll, fetcher: StubFetcher):
    fetcher.responses = {"https://slow/": DeadlineExceededError("5 s"), "https://x/": shade(0)}
    assert outcomes(predict_all("https://slow/", "https://x/")) == [DeadlineExceededError, None]


def test_the_stages_are_timed(predict_all: PredictAll, fetcher: StubFetcher):
    fetcher.responses["https://x/"] = shade(0)
    timings = Timings()

    predict_all("https://x/", shade(1), timings=timings)

    stages = [entry.partition(";")[0] for entry in timings.header().split(", ")]
    assert stages == ["fetch", "decode", "preprocess", "predict"]


# Explanations


def by_class(images: Array, class_ids: Array) -> Array:
    """Return heat maps, float32[N, 2, 3], that encode the explained class and the lightness of the image."""
    heats = np.zeros((len(images), 2, 3), np.float32)
    heats[:, 0, 0] = class_ids / 10
    heats[:, 1, 2] = images.mean(axis=(1, 2, 3)) / 255
    return heats


def test_the_best_class_of_each_image_is_explained(predict_all: PredictAll, server: FakeModelServer, card: Card):
    server.swap("pets", 2, explainable(card, by_lightness, by_class))

    result = predict_all(shade(255), b"hello", shade(0), shade(204), shade(51), explain="raw")

    explanations = [item["explanation"] for item in result.predictions if not isinstance(item, GatewayError)]
    assert outcomes(result).index(ImageFormatError) == 1
    assert [round(item["heatmap"][0][0], 3) for item in explanations] == [0.1, 0.0, 0.1, 0.0]
    assert [round(item["heatmap"][1][2], 3) for item in explanations] == [1.0, 0.0, 0.8, 0.2]
    assert [(item["height"], item["width"]) for item in explanations] == [(2, 3)] * 4
    assert server.calls["predict"] == INSPECTION_CALLS + 2 + 2  # three images and one, twice


def test_an_explanation_is_drawn_over_the_image(predict: Predict, server: FakeModelServer, card: Card):
    def cold(images: Array, _: Array) -> Array:
        return np.zeros((len(images), 2, 2), np.float32)

    server.swap("pets", 2, explainable(card, constant(0, 1, 0), cold))
    data_uri = predict(shade(100), explain="image")["explanation"]["heatmap"]

    png = base64.b64decode(data_uri.removeprefix(PNG_DATA_URI))
    drawn = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert (drawn == 100).all()


def test_nothing_is_explained_by_default(predict: Predict, server: FakeModelServer, card: Card):
    def refuse(*_: Array) -> Array:
        raise AssertionError

    server.swap("pets", 2, explainable(card, constant(0, 1, 0), refuse))
    assert "explanation" not in predict(shade(0))


def test_a_batch_of_only_errors_is_not_explained(predict_all: PredictAll, server: FakeModelServer, card: Card):
    server.swap("pets", 2, explainable(card, constant(0, 1, 0), by_class))
    assert outcomes(predict_all(b"a", b"b", explain="image")) == [ImageFormatError] * 2


def test_explain_is_refused_before_anything_is_fetched(predict: Predict, fetcher: StubFetcher):
    fetcher.responses["https://x/"] = AssertionError("fetched")
    for explain in ("image", "raw"):
        with pytest.raises(NotExplainableError, match="pets version 1 has no usable signature `explain`"):
            predict("https://x/", explain=explain)


def test_explain_is_refused_if_the_replacement_does_not_support_it(
    predict_all: PredictAll, server: FakeModelServer, card: Card
):
    server.swap("pets", 2, explainable(card, constant(0, 1, 0), by_class))
    predict_all(shade(0))
    when_predicting(server, lambda: server.swap("pets", 3, classifier(card, constant(0, 1, 0))))
    with pytest.raises(NotExplainableError, match="pets version 3"):
        predict_all(shade(0), explain="raw")


def test_a_heat_map_of_a_wrong_shape_is_an_error_of_the_model(
    predict_all: PredictAll, server: FakeModelServer, card: Card
):
    for shape in ((2, 2), (2, 3, 2, 1), (1, 2, 2), (2,)):
        heat = np.zeros(shape, np.float32)
        version = explainable(card, by_lightness, lambda *_, heat=heat: heat)
        server.swap("pets", max(server.models["pets"]) + 1, version)
        with pytest.raises(ModelFailedError, match=r"returned .*\[.*\]; expected .*\[2, N, N\]"):
            pytest.fail(f"{shape}: {predict_all(shade(0), shade(1), explain='raw')}")


def test_a_heat_map_without_finite_numbers_is_an_error_of_the_model(
    predict: Predict, server: FakeModelServer, card: Card
):
    for heat in (
        np.full((1, 2, 2), np.nan, np.float32),
        np.full((1, 2, 2), np.inf, np.float32),
        np.full((1, 2, 2), -np.inf, np.float32),
        np.zeros((1, 0, 3), np.float32),
        np.ones((1, 2, 2), np.int64),
    ):
        version = explainable(card, by_lightness, lambda *_, heat=heat: heat)
        server.swap("pets", max(server.models["pets"]) + 1, version)
        with pytest.raises(ModelFailedError, match="a heat map that is empty or not of finite numbers"):
            pytest.fail(f"{heat}: {predict(shade(0), explain='image')}")


def test_heat_is_clipped_to_its_range(predict: Predict, server: FakeModelServer, card: Card):
    server.swap("pets", 2, explainable(card, by_lightness, lambda *_: np.array([[[-0.5, 1.5]]], np.float32)))
    assert predict(shade(0), explain="raw")["explanation"]["heatmap"] == [[0, 1]]


# Targeted versions


def test_a_targeted_version_is_used_with_its_own_card(
    predict_all: PredictAll, server: FakeModelServer, card: Card, png: bytes
):
    larger = dataclasses.replace(card, labels=("a", "b"), input=InputSpec(height=9, width=7))
    server.models["pets"][2] = classifier(larger, constant(0.4, 0.6))
    for version, best in ((1, "dog"), (2, "b")):
        result = predict_all(png, target=ModelTarget("pets", version=version))
        assert (result.model.version, result.predictions[0]["class"]) == (version, best)
    assert predict_all(png).model.version == 2


def test_a_label_uses_the_version_that_it_points_to(predict_all: PredictAll, server: FakeModelServer, png: bytes):
    server.models["pets"][2] = server.models["pets"][1]
    server.labels["pets"] = {"stable": 1}
    assert predict_all(png, target=ModelTarget("pets", label="stable")).model.version == 1
    server.labels["pets"] = {"stable": 2}
    assert predict_all(png, target=ModelTarget("pets", label="stable")).model.version == 2


def test_a_label_that_moves_during_a_request_is_followed(predict_all: PredictAll, server: FakeModelServer, png: bytes):
    server.labels["pets"] = {"stable": 1}
    predict_all(png, target=ModelTarget("pets", label="stable"))

    def move() -> None:
        server.labels["pets"] = {"stable": 2}
        server.swap("pets", 2, server.models["pets"][1])

    when_predicting(server, move)
    assert predict_all(png, target=ModelTarget("pets", label="stable")).model.version == 2


def test_a_targeted_version_unloaded_during_a_request_is_refused_with_the_served_ones(
    predict_all: PredictAll, server: FakeModelServer, png: bytes
):
    predict_all(png, target=ModelTarget("pets", version=1))
    when_predicting(server, lambda: server.swap("pets", 2, server.models["pets"][1]))
    with pytest.raises(VersionNotFoundError, match=r"No version 1 of pets is served\. Served: 2\."):
        predict_all(png, target=ModelTarget("pets", version=1))


# Version swaps


def when_predicting(server: FakeModelServer, act: Callable[[], None]) -> None:
    """Call `act` once, at the beginning of the next prediction."""

    def once() -> None:
        del server.before["predict"]
        act()

    server.before["predict"] = once


def test_a_request_survives_a_swap(predict_all: PredictAll, server: FakeModelServer, card: Card, png: bytes):
    assert predict_all(png).model.version == 1
    # The new version has another input size and other labels: nothing of the old one may be mixed in.
    larger = dataclasses.replace(card, labels=("a", "b"), input=InputSpec(height=9, width=7))
    when_predicting(server, lambda: server.swap("pets", 2, classifier(larger, constant(0.4, 0.6))))

    result = predict_all(png)

    assert result.model.version == 2
    assert ranking(result.predictions[0]) == [("b", 1, 0.6), ("a", 0, 0.4)]


def test_a_request_survives_a_limited_number_of_swaps(
    predict_all: PredictAll, server: FakeModelServer, card: Card, png: bytes
):
    def serve_replaced(version: int, swaps: int) -> None:
        """Serve a version that is replaced by the next one when it is called, `swaps` times in all."""

        def scores(images: Array) -> Array:
            if swaps == 0:
                return constant(1, 0, 0)(images)
            serve_replaced(version + 1, swaps - 1)
            raise VersionGoneError("gone")

        server.swap("pets", version, classifier(card, after_check(scores)))

    serve_replaced(10, MAX_SWAPS - 1)
    assert predict_all(png).model.version == 10 + MAX_SWAPS - 1

    serve_replaced(20, MAX_SWAPS - 1)  # one swap more, since the version in memory is gone too
    with pytest.raises(ModelUnavailableError, match="versions of pets change faster than a request is answered"):
        predict_all(png)


def test_a_version_unloaded_without_a_replacement_is_unavailable(
    predict: Predict, server: FakeModelServer, png: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.models.registry.SWAP_WAIT_S", 0.05)
    predict(png)
    when_predicting(server, server.models["pets"].clear)
    with pytest.raises(ModelUnavailableError, match="no version of pets ready"):
        predict(png)


def test_a_version_that_is_gone_although_its_status_is_available_is_unavailable(
    predict: Predict, server: FakeModelServer, png: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.models.registry.SWAP_WAIT_S", 0.05)
    predict(png)
    server.failures["predict"] = VersionGoneError("gone")
    with pytest.raises(ModelUnavailableError):
        predict(png)


# Unusable images


def test_an_unknown_format_is_refused_with_the_accepted_ones(predict: Predict):
    for data in (b"hello, world", b"\x00", b"%PDF-1.7", b"<svg/>"):
        with pytest.raises(ImageFormatError, match="jpeg, png") as caught:
            predict(data)
        assert "webp" in caught.value.members["accepted"]


def test_more_pixels_than_the_limit_are_refused_with_their_number(predict: Predict, server: FakeModelServer):
    with pytest.raises(ImageTooLargeError, match="101 x 100 = 10,100 pixels; at most 10,000") as caught:
        predict(encode(np.zeros((100, 101), np.uint8)))
    assert caught.value.members == {"max_pixels": MAX_PIXELS}
    assert predict(encode(np.zeros((100, 100), np.uint8)))
    assert server.calls["predict"] == INSPECTION_CALLS + 1


def test_a_truncated_image_cannot_be_decoded(predict: Predict):
    pixels = np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8)
    for suffix in (".png", ".jpg"):
        whole = encode(pixels, suffix)
        assert predict(whole), suffix
        with pytest.raises(ImageUnreadableError, match=r"ends within a chunk|is truncated"):
            pytest.fail(f"{suffix}: {predict(whole[: len(whole) // 2])}")


def test_an_empty_image_cannot_be_decoded(predict: Predict):
    with pytest.raises(ImageUnreadableError, match="empty"):
        predict(b"")


def test_each_image_error_becomes_an_error_of_the_gateway():
    for error, error_class in (
        (UnsupportedFormatError("x"), ImageFormatError),
        (TooManyPixelsError(5, 6, 7), ImageTooLargeError),
        (UnreadableImageError("x"), ImageUnreadableError),
        (DecoderCrashedError(), ImageUnreadableError),
        (DecodingTimeoutError(), DeadlineExceededError),
        (DecoderUnavailableError(), OverloadedError),
        (OutOfMemoryError("x"), OverloadedError),
    ):
        with pytest.raises(error_class) as caught, translated_image_errors(7):
            raise error
        assert caught.value.__cause__ is error


def test_an_error_of_the_fetcher_is_the_error_of_the_image(predict: Predict, fetcher: StubFetcher):
    for error in (FetchRefusedError("no"), BodyTooLargeError("big")):
        fetcher.responses["https://x/"] = error
        with pytest.raises(type(error)):
            predict("https://x/")


# Deadlines


def test_nothing_is_fetched_for_an_unknown_model(predict: Predict, fetcher: StubFetcher):
    fetcher.responses["https://x/"] = AssertionError("fetched")
    with pytest.raises(ModelNotFoundError):
        predict("https://x/", target=ModelTarget("birds"))


def test_a_request_whose_deadline_has_passed_does_not_call_the_model(
    predict: Predict, server: FakeModelServer, png: bytes
):
    predict(png)
    with pytest.raises(DeadlineExceededError):
        predict(png, deadline_s=0)
    with pytest.raises(DeadlineExceededError):
        predict("https://x/", deadline_s=0)
    assert len(server.request_ids) == INSPECTION_CALLS + 1  # the first request
