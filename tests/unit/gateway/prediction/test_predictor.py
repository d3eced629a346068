import dataclasses
import threading
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.deadline import Deadline
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
from gateway.models.registry import Catalog, Target
from gateway.observability.timing import Timings
from gateway.prediction.classifier import SWAPS_FOLLOWED, Answer, Answers, Classifier, Inquiry
from gateway.prediction.image_loader import Link, Pictures, Upload, translated_image_errors
from gateway.prediction.options import Explain, Options
from tests.support.fake_model_server import FakeModelServer, FakeVersion, classifier, constant, explainable
from vision.card import Card, InputSpec, OutputSpec
from vision.errors import TooManyPixelsError, UnreadableImageError, UnsupportedFormatError

Ask = Callable[..., Answers]
MAX_PIXELS = 10_000
NEWEST = Target()


class Library:
    """Gives pictures by URL, or the error that a test puts there."""

    def __init__(self) -> None:
        self.shelves: dict[str, bytes | Exception] = {}

    def fetch(self, url: str, *, deadline: Deadline) -> bytes:
        deadline.remaining_s()
        found = self.shelves[url]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def ask_all(server: FakeModelServer, library: Library, tmp_path: object) -> Iterator[Ask]:
    """Classify pictures, their bytes or URLs, with the fake server's models; three at most in one call to it."""
    catalog = Catalog(
        server, ConfiguredModels(lambda: dict.fromkeys(server.models, ())), cards_dir=tmp_path, look_deadline_s=1
    )
    pictures = Pictures(library, max_pixels=MAX_PIXELS, fetch_threads=2, decode_threads=2)
    classifier = Classifier(catalog, server, pictures, max_batch_size=3)

    def ask_all(
        *sources: bytes | str | GatewayError,
        target: Target = NEWEST,
        top_k: int = 5,
        threshold: float | None = None,
        deadline_s: float = 10,
        request_id: str = "",
        timings: Timings | None = None,
        explain: Explain | None = None,
    ) -> Answers:
        kinds = {str: Link, bytes: Upload}
        images = [kinds[type(source)](source) if type(source) in kinds else source for source in sources]
        asked = Inquiry(
            target, Options(top_k, threshold, explain), Deadline.after(deadline_s), request_id, timings or Timings()
        )
        return classifier.classify(images, asked)

    yield ask_all
    catalog.close()


@pytest.fixture
def ask(ask_all: Ask) -> Callable[..., Answer]:
    """Classify one picture; what is wrong with it is raised."""

    def ask(source: bytes | str, **told: object) -> Answer:
        (result,) = ask_all(source, **told).results
        if isinstance(result, GatewayError):
            raise result
        return result

    return ask


def encode(pixels: NDArray[np.uint8], suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def ranked(answer: Answer) -> list[tuple[str, int, float]]:
    return [(item.label, item.class_id, round(item.score, 6)) for item in answer.predictions]


# Answers


def test_the_best_classes_come_first(ask: Ask, png: bytes):
    answer = ask(png)
    assert ranked(answer) == [("dog", 1, 0.7), ("cat", 0, 0.2), ("fish", 2, 0.1)]
    assert answer.best == answer.predictions[0]
    assert answer.present is None


def test_the_version_that_answers_is_told(ask_all: Ask, png: bytes):
    assert (ask_all(png).model.name, ask_all(png).model.version) == ("pets", 1)


@pytest.mark.parametrize(("top", "count"), [(1, 1), (2, 2), (3, 3), (4, 3), (10**9, 3)])
def test_as_many_classes_as_asked_for_or_as_there_are(ask: Ask, png: bytes, top: int, count: int):
    assert len(ask(png, top_k=top).predictions) == count


def test_a_picture_by_url(ask: Ask, png: bytes, library: Library):
    library.shelves["https://x/"] = png
    assert ranked(ask("https://x/"))[0] == ("dog", 1, 0.7)


def test_the_model_sees_the_pixels_that_the_card_asks_for(ask: Ask, server: FakeModelServer, card: Card):
    seen: list[Array] = []

    def look(images: Array) -> Array:
        seen.append(images)
        return constant(1, 0, 0)(images)

    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
    server.swap("pets", 2, classifier(card, look))
    ask(encode(pixels))
    assert seen[-1].dtype == np.uint8
    np.testing.assert_array_equal(seen[-1], pixels[None, :, :, None])

    coloured = InputSpec(height=2, width=2, color="BGR", dtype="float32", layout="NCHW", std=(255.0,) * 3)
    server.swap("pets", 3, classifier(dataclasses.replace(card, input=coloured), look))
    bgr = np.zeros((2, 2, 3), np.uint8)
    bgr[0, 1] = (255, 51, 0)
    ask(encode(bgr))
    assert seen[-1].dtype == np.float32
    np.testing.assert_allclose(seen[-1], (bgr / 255).transpose(2, 0, 1)[None].astype(np.float32))


@pytest.mark.parametrize(
    ("activation", "scores", "best"),
    [("softmax", (1.0, 3.0, 2.0), 0.665241), ("sigmoid", (-1.0, 0.5, 0.0), 0.622459)],
)
def test_raw_scores_become_probabilities(
    *,
    ask: Ask,
    server: FakeModelServer,
    card: Card,
    png: bytes,
    activation: str,
    scores: tuple[float, ...],
    best: float,
):
    raw = dataclasses.replace(card, output=OutputSpec(name="logits", activation=activation))
    server.swap("pets", 2, classifier(raw, constant(*scores)))
    assert ranked(ask(png))[0] == ("dog", 1, best)


def test_a_multilabel_model_adds_what_is_present(ask: Ask, server: FakeModelServer, card: Card, png: bytes):
    several = dataclasses.replace(card, task="multilabel", threshold=(0.9, 0.5, 0.5))
    server.swap("pets", 2, classifier(several, constant(0.8, 0.6, 0.7)))
    answer = ask(png, top_k=1)
    assert ranked(answer) == [("cat", 0, 0.8)]
    assert [item.label for item in answer.present or []] == ["fish", "dog"]
    server.swap("pets", 3, classifier(several, constant(0.1, 0.2, 0.3)))
    assert ask(png).present == []


@pytest.mark.parametrize(
    ("threshold", "told"), [(0.0, 3), (0.1, 3), (0.15, 2), (0.2, 2), (0.7, 1), (0.71, 0), (1.0, 0)]
)
def test_a_threshold_leaves_out_what_is_below_it_but_the_best(ask: Ask, png: bytes, threshold: float, told: int):
    answer = ask(png, threshold=threshold)
    assert [item.label for item in answer.predictions] == ["dog", "cat", "fish"][:told]
    assert answer.best.label == "dog"


def test_a_threshold_takes_the_place_of_a_multilabel_cards_own(
    ask: Ask, server: FakeModelServer, card: Card, png: bytes
):
    several = dataclasses.replace(card, task="multilabel", threshold=(0.9, 0.5, 0.5))
    server.swap("pets", 2, classifier(several, constant(0.8, 0.3, 0.6)))
    answer = ask(png, threshold=0.7)
    assert [item.label for item in answer.present or []] == ["cat"]
    assert [item.label for item in answer.predictions] == ["cat", "fish", "dog"]


def test_the_model_that_is_named_answers(ask: Ask, server: FakeModelServer, card: Card, png: bytes):
    server.swap("weather", 4, classifier(dataclasses.replace(card, labels=("sun", "rain", "snow")), constant(0, 0, 1)))
    assert ranked(ask(png, target=Target("weather")))[0][0] == "snow"
    assert ranked(ask(png, target=Target("pets")))[0][0] == "dog"
    with pytest.raises(ModelNotFoundError):
        ask(png, target=Target("birds"))


def test_the_request_id_goes_along(ask: Ask, server: FakeModelServer, png: bytes):
    ask(png, request_id="trace-1")
    assert server.request_ids[-1] == "trace-1"


# Models that answer wrongly


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("activation", ["none", "softmax", "sigmoid"])
def test_scores_that_are_no_numbers_are_the_models_fault(
    *, ask: Ask, server: FakeModelServer, card: Card, png: bytes, score: float, activation: str
):
    odd = dataclasses.replace(card, output=OutputSpec(activation=activation))
    server.swap("pets", 2, classifier(odd, constant(0.1, score, 0.2)))
    with pytest.raises(ModelFailedError, match="pets answered with scores that cannot be ranked"):
        ask(png)


@pytest.mark.parametrize("shape", [(3,), (1, 2), (1, 4), (2, 3), (1, 1, 3), (0, 3), ()])
def test_scores_of_another_shape_are_the_models_fault(
    ask: Ask, server: FakeModelServer, card: Card, png: bytes, shape: tuple[int, ...]
):
    server.swap("pets", 2, classifier(card, lambda _: np.zeros(shape, np.float32)))
    with pytest.raises(ModelFailedError, match=r"answered with shape \(.*\), not \(1, 3\)"):
        ask(png)


@pytest.mark.parametrize(
    "failure", [ModelFailedError("f"), ModelUnavailableError("u"), DeadlineExceededError("d")], ids=repr
)
def test_a_failing_server_is_told_as_it_is(ask: Ask, server: FakeModelServer, png: bytes, failure: Exception):
    ask(png)
    server.failures["predict"] = failure
    with pytest.raises(type(failure)):
        ask(png)


# Several at once


def by_lightness(images: Array) -> Array:
    """Say cat of black pictures, dog of white ones."""
    light = images.mean(axis=(1, 2, 3)) / 255
    return np.stack([1 - light, light, np.zeros_like(light)], axis=1).astype(np.float32)


def shade(value: int) -> bytes:
    return encode(np.full((4, 4), value, np.uint8))


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (2, [2]), (3, [3]), (4, [3, 1]), (7, [3, 3, 1])])
def test_a_batch_is_answered_in_order_by_as_few_calls_as_can_be(
    *, ask_all: Ask, server: FakeModelServer, card: Card, count: int, sizes: list[int]
):
    calls: list[int] = []

    def scores(images: Array) -> Array:
        calls.append(len(images))
        return by_lightness(images)

    server.swap("pets", 2, classifier(card, scores))
    shades = [51 * (number % 6) for number in range(count)]
    answers = ask_all(*map(shade, shades))
    told = [{item.label: item.score for item in result.predictions}["dog"] for result in answers.results]
    assert told == pytest.approx([value / 255 for value in shades])
    assert calls == sizes


def test_a_model_that_takes_one_image_at_a_time_gets_them_so(ask_all: Ask, server: FakeModelServer, card: Card):
    made = classifier(card, by_lightness)
    single = Signature({"image": TensorSpec("uint8", (1, 4, 4, 1))}, made.signatures["serving_default"].outputs)
    server.swap("pets", 2, FakeVersion({**made.signatures, "serving_default": single}, made.compute))
    assert [result.best.label for result in ask_all(shade(0), shade(255)).results] == ["cat", "dog"]
    assert server.calls["predict"] == 1 + 2


def test_what_is_wrong_with_one_image_stops_no_other(ask_all: Ask, server: FakeModelServer, library: Library):
    library.shelves = {"https://x/1": shade(255), "https://x/2": FetchRefusedError("private")}
    unknown = BadRequestError("not base64")
    results = ask_all(shade(0), b"hello", unknown, "https://x/1", "https://x/2", shade(9)[:30], shade(255)).results
    assert [type(result) for result in results] == [
        Answer,
        ImageFormatError,
        BadRequestError,
        Answer,
        FetchRefusedError,
        ImageUnreadableError,
        Answer,
    ]
    assert server.calls["predict"] == 2  # for the card, and for all three pictures


def test_images_that_are_all_bad_are_told_one_by_one_without_asking_the_model(ask_all: Ask, server: FakeModelServer):
    answers = ask_all(b"hello", b"there")
    assert [type(result) for result in answers.results] == [ImageFormatError] * 2
    assert answers.model.version == 1
    assert server.calls["predict"] == 1  # for the card


def test_scores_of_one_image_that_are_no_numbers_are_its_own_problem(ask_all: Ask, server: FakeModelServer, card: Card):
    def scores(images: Array) -> Array:
        found = by_lightness(images)
        found[1, 0] = np.nan
        return found

    server.swap("pets", 2, classifier(card, scores))
    assert [type(result) for result in ask_all(shade(0), shade(1), shade(2)).results] == [
        Answer,
        ModelFailedError,
        Answer,
    ]


@pytest.mark.parametrize(
    "failure", [ModelFailedError("f"), ModelUnavailableError("u"), DeadlineExceededError("d")], ids=repr
)
def test_what_fails_for_all_is_told_once(ask_all: Ask, server: FakeModelServer, failure: Exception):
    ask_all(shade(0))
    server.failures["predict"] = failure
    with pytest.raises(type(failure)):
        ask_all(shade(0), b"hello")


def test_a_swap_in_the_middle_of_a_batch_has_one_version_answer_all(ask_all: Ask, server: FakeModelServer, card: Card):
    def scores_once(images: Array) -> Array:
        server.swap("pets", 2, classifier(dataclasses.replace(card, labels=("a", "b", "c")), by_lightness))
        return by_lightness(images)

    server.swap("pets", 1, classifier(card, scores_once))
    answers = ask_all(*[shade(0)] * 4)  # the second call finds version 1 gone
    assert answers.model.version == 2
    assert [result.best.label for result in answers.results] == ["a"] * 4


def test_a_batch_that_comes_too_late_is_dropped(ask_all: Ask, server: FakeModelServer, library: Library):
    ask_all(shade(0))
    hanging = threading.Event()

    class Slow:
        def fetch(self, url: str, *, deadline: Deadline) -> bytes:  # noqa: ARG002  # as one that heeds no deadline
            hanging.wait(30)
            return shade(0)

    library.fetch = Slow().fetch  # type: ignore[method-assign]
    try:
        with pytest.raises(DeadlineExceededError, match=r"not answered within 0\.05 s"):
            ask_all(*["https://x/"] * 5, deadline_s=0.05)
    finally:
        hanging.set()
    assert server.calls["predict"] == 2  # the card's, and that of the picture in time


def test_an_image_that_is_not_fetched_in_time_is_its_own_problem(ask_all: Ask, library: Library):
    library.shelves = {"https://slow/": DeadlineExceededError("5 s"), "https://x/": shade(0)}
    assert [type(result) for result in ask_all("https://slow/", "https://x/").results] == [
        DeadlineExceededError,
        Answer,
    ]


def test_the_stages_are_timed(ask_all: Ask, library: Library):
    library.shelves["https://x/"] = shade(0)
    timings = Timings()
    ask_all("https://x/", shade(1), timings=timings)
    stages = [entry.partition(";")[0] for entry in timings.header().split(", ")]
    assert stages == ["fetch", "decode", "preprocess", "predict"]


# Explanations


def by_class(images: Array, class_ids: Array) -> Array:
    """Make heat maps of 2 x 3 cells that tell the class asked for, and the lightness of the image."""
    heats = np.zeros((len(images), 2, 3), np.float32)
    heats[:, 0, 0] = class_ids / 10
    heats[:, 1, 2] = images.mean(axis=(1, 2, 3)) / 255
    return heats


def test_the_best_class_of_each_image_is_explained(ask_all: Ask, server: FakeModelServer, card: Card):
    server.swap("pets", 2, explainable(card, by_lightness, by_class))
    answers = ask_all(shade(255), b"hello", shade(0), shade(204), shade(51), explain="raw")
    found = [result.explanation for result in answers.results if isinstance(result, Answer)]
    assert [type(result) for result in answers.results].index(ImageFormatError) == 1
    assert [round(float(item.heat[0, 0]), 3) for item in found] == [0.1, 0.0, 0.1, 0.0]
    assert [round(float(item.heat[1, 2]), 3) for item in found] == [1.0, 0.0, 0.8, 0.2]
    assert all(item.heat.shape == (2, 3) and item.drawing is None for item in found)
    assert server.calls["predict"] == 1 + 2 + 2  # the card; three images and one, twice


def test_an_explanation_is_drawn_over_the_image(ask: Ask, server: FakeModelServer, card: Card):
    def cold(images: Array, _: Array) -> Array:
        return np.zeros((len(images), 2, 2), np.float32)

    server.swap("pets", 2, explainable(card, constant(0, 1, 0), cold))
    explanation = ask(shade(100), explain="image").explanation
    drawn = cv2.imdecode(np.frombuffer(explanation.drawing, np.uint8), cv2.IMREAD_COLOR)
    assert (drawn == 100).all()


def test_nothing_is_explained_unless_it_is_asked_for(ask: Ask, server: FakeModelServer, card: Card):
    def refuse(*_: Array) -> Array:
        raise AssertionError

    server.swap("pets", 2, explainable(card, constant(0, 1, 0), refuse))
    assert ask(shade(0)).explanation is None


def test_images_that_are_all_bad_are_not_explained(ask_all: Ask, server: FakeModelServer, card: Card):
    server.swap("pets", 2, explainable(card, constant(0, 1, 0), by_class))
    assert [type(result) for result in ask_all(b"a", b"b", explain="image").results] == [ImageFormatError] * 2


@pytest.mark.parametrize("explain", ["image", "raw"])
def test_a_model_that_cannot_explain_is_told_before_anything_is_fetched(ask: Ask, library: Library, explain: str):
    library.shelves["https://x/"] = AssertionError("fetched")
    with pytest.raises(NotExplainableError, match="pets version 1 has no usable signature explain"):
        ask("https://x/", explain=explain)


def test_a_version_that_comes_in_the_middle_and_cannot_explain_is_told(
    ask_all: Ask, server: FakeModelServer, card: Card
):
    server.swap("pets", 2, explainable(card, constant(0, 1, 0), by_class))
    ask_all(shade(0))
    when_predicting(server, lambda: server.swap("pets", 3, classifier(card, constant(0, 1, 0))))
    with pytest.raises(NotExplainableError, match="pets version 3"):
        ask_all(shade(0), explain="raw")


@pytest.mark.parametrize("shape", [(2, 2), (2, 3, 2, 1), (1, 2, 2), (2,)])
def test_a_heat_map_of_another_shape_is_the_models_fault(
    *, ask_all: Ask, server: FakeModelServer, card: Card, shape: tuple[int, ...]
):
    server.swap("pets", 2, explainable(card, by_lightness, lambda *_: np.zeros(shape, np.float32)))
    with pytest.raises(ModelFailedError, match=r"answered with shape \(.*\), not \(2, None, None\)"):
        ask_all(shade(0), shade(1), explain="raw")


@pytest.mark.parametrize("heat", [np.full((1, 2, 2), np.nan), np.zeros((1, 0, 3))], ids=["no number", "no cell"])
def test_a_heat_map_without_numbers_is_the_models_fault(
    ask: Ask, server: FakeModelServer, card: Card, heat: NDArray[np.float64]
):
    server.swap("pets", 2, explainable(card, by_lightness, lambda *_: heat.astype(np.float32)))
    with pytest.raises(ModelFailedError, match="explained with a heat map that has no cells, or no numbers"):
        ask(shade(0), explain="image")


def test_heat_beyond_its_range_is_cut_off(ask: Ask, server: FakeModelServer, card: Card):
    server.swap("pets", 2, explainable(card, by_lightness, lambda *_: np.array([[[-0.5, 1.5]]], np.float32)))
    assert ask(shade(0), explain="raw").explanation.heat.tolist() == [[0, 1]]


# Versions that are asked for


def test_a_version_that_is_asked_for_answers_by_its_own_card(
    ask_all: Ask, server: FakeModelServer, card: Card, png: bytes
):
    larger = dataclasses.replace(card, labels=("a", "b"), input=InputSpec(height=9, width=7))
    server.models["pets"][2] = classifier(larger, constant(0.4, 0.6))
    for version, best in ((1, "dog"), (2, "b")):
        answers = ask_all(png, target=Target("pets", version=version))
        assert (answers.model.version, answers.results[0].best.label) == (version, best)
    assert ask_all(png).model.version == 2


def test_a_label_answers_as_the_version_that_it_points_to(ask_all: Ask, server: FakeModelServer, png: bytes):
    server.models["pets"][2] = server.models["pets"][1]
    server.labels["pets"] = {"stable": 1}
    assert ask_all(png, target=Target("pets", label="stable")).model.version == 1
    server.labels["pets"] = {"stable": 2}
    assert ask_all(png, target=Target("pets", label="stable")).model.version == 2


def test_a_label_that_moves_in_the_middle_of_a_request_is_followed(ask_all: Ask, server: FakeModelServer, png: bytes):
    server.labels["pets"] = {"stable": 1}
    ask_all(png, target=Target("pets", label="stable"))

    def move() -> None:
        server.labels["pets"] = {"stable": 2}
        server.swap("pets", 2, server.models["pets"][1])

    when_predicting(server, move)
    assert ask_all(png, target=Target("pets", label="stable")).model.version == 2


def test_a_version_that_goes_in_the_middle_of_a_request_is_told_with_those_there_are(
    ask_all: Ask, server: FakeModelServer, png: bytes
):
    ask_all(png, target=Target("pets", version=1))
    when_predicting(server, lambda: server.swap("pets", 2, server.models["pets"][1]))
    with pytest.raises(VersionNotFoundError, match=r"No version 1 of pets is served\. Served are: 2\."):
        ask_all(png, target=Target("pets", version=1))


# Versions that change in the middle


def when_predicting(server: FakeModelServer, act: Callable[[], None]) -> None:
    """Act once, at the begin of the next prediction."""

    def once() -> None:
        del server.before["predict"]
        act()

    server.before["predict"] = once


def test_a_swap_in_the_middle_of_a_request_is_lived_through(
    ask_all: Ask, server: FakeModelServer, card: Card, png: bytes
):
    assert ask_all(png).model.version == 1
    # The new version wants another size and names its classes otherwise: nothing of the old one may be mixed in.
    larger = dataclasses.replace(card, labels=("a", "b"), input=InputSpec(height=9, width=7))
    when_predicting(server, lambda: server.swap("pets", 2, classifier(larger, constant(0.4, 0.6))))
    answers = ask_all(png)
    assert answers.model.version == 2
    assert ranked(answers.results[0]) == [("b", 1, 0.6), ("a", 0, 0.4)]


def test_several_swaps_in_a_row_are_lived_through_up_to_a_point(
    ask_all: Ask, server: FakeModelServer, card: Card, png: bytes
):
    def vanishing(version: int, swaps: int) -> None:
        """Serve a version that gives way to the next one as soon as it is asked, so many times."""

        def scores(images: Array) -> Array:
            if swaps == 0:
                return constant(1, 0, 0)(images)
            vanishing(version + 1, swaps - 1)
            raise VersionGoneError("gone")

        server.swap("pets", version, classifier(card, scores))

    vanishing(10, SWAPS_FOLLOWED - 1)
    assert ask_all(png).model.version == 10 + SWAPS_FOLLOWED - 1
    vanishing(20, SWAPS_FOLLOWED - 1)  # and one more: the version known from before is gone as well
    with pytest.raises(ModelUnavailableError, match="versions of pets change faster than it can be asked"):
        ask_all(png)


def test_a_version_that_goes_without_successor(
    ask: Ask, server: FakeModelServer, png: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.models.registry.SWAP_WAIT_S", 0.05)
    ask(png)
    when_predicting(server, server.models["pets"].clear)
    with pytest.raises(ModelUnavailableError, match="no version of pets ready"):
        ask(png)


def test_a_version_that_is_gone_although_status_lists_it(
    ask: Ask, server: FakeModelServer, png: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.models.registry.SWAP_WAIT_S", 0.05)
    ask(png)
    server.failures["predict"] = VersionGoneError("gone")
    with pytest.raises(ModelUnavailableError):
        ask(png)


# Pictures that are none


def test_an_unknown_format_is_told_those_that_are_accepted(ask: Ask):
    for data in (b"hello, world", b"\x00", b"%PDF-1.7", b"<svg/>"):
        with pytest.raises(ImageFormatError, match="jpeg, png") as caught:
            ask(data)
        assert "webp" in caught.value.members["accepted"]


def test_more_pixels_than_the_limit_are_told_with_their_number(ask: Ask, server: FakeModelServer):
    with pytest.raises(ImageTooLargeError, match="101 x 100 pixels; at most 10000") as caught:
        ask(encode(np.zeros((100, 101), np.uint8)))
    assert caught.value.members == {"max_pixels": MAX_PIXELS}
    assert ask(encode(np.zeros((100, 100), np.uint8)))
    assert server.calls["predict"] == 2


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_that_is_cut_off_cannot_be_decoded(ask: Ask, suffix: str):
    whole = encode(np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8), suffix)
    assert ask(whole)
    with pytest.raises(ImageUnreadableError, match="cannot be decoded"):
        ask(whole[: len(whole) // 2])


def test_no_bytes_at_all_cannot_be_decoded_either(ask: Ask):
    with pytest.raises(ImageUnreadableError, match="empty"):
        ask(b"")


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
def test_what_the_fetcher_refuses_is_passed_on(ask: Ask, library: Library, failure: Exception):
    library.shelves["https://x/"] = failure
    with pytest.raises(type(failure)):
        ask("https://x/")


# Time


def test_nothing_is_fetched_for_a_model_that_is_not_there(ask: Ask, library: Library):
    library.shelves["https://x/"] = AssertionError("fetched")
    with pytest.raises(ModelNotFoundError):
        ask("https://x/", target=Target("birds"))


def test_a_passed_deadline_ends_it(ask: Ask, server: FakeModelServer, png: bytes):
    ask(png)
    with pytest.raises(DeadlineExceededError):
        ask(png, deadline_s=0)
    with pytest.raises(DeadlineExceededError):
        ask("https://x/", deadline_s=0)
    assert len(server.request_ids) == 2  # the card's, and the one picture in time
