"""Compare a running gateway with the model on disk, image by image."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import requests
from requests.adapters import HTTPAdapter

from train.data.examples import Example
from train.errors import TrainError
from train.evaluation.evaluate import Evaluation
from train.export.golden import TOLERANCE
from vision.decode import sniff

TIMEOUT_S = (5.0, 30.0)  # to connect, and for the answer


class AnswerError(TrainError):
    """The gateway gave no probabilities for an image; the message holds what it said."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway says about one image.

    Attributes:
        classes: The classes it names: the likeliest or, of a multi-label model, those that it says are there.
        probabilities: float32[K], by class number.
        version: Of the model that answered.
    """

    classes: frozenset[int]
    probabilities: npt.NDArray[np.float32]
    version: int


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An image for which the gateway's answer is not the expected one.

    Attributes:
        index: Which image, from 0.
        problem: How they differ.
    """

    index: int
    problem: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A set of images, over HTTP and offline.

    Attributes:
        images: How many.
        accuracy: Fraction with the right classes, over HTTP; an image without answer is wrong.
        offline_accuracy: Fraction right, offline.
        largest_difference: Between any probability over HTTP and offline.
        mismatches: Images without answer, with other classes, or with a difference above `TOLERANCE`.
    """

    images: int
    accuracy: float
    offline_accuracy: float
    largest_difference: float
    mismatches: tuple[Mismatch, ...]


class Gateway:
    """One model of a running gateway.

    Args:
        url: Where it listens, as in http://localhost:8080.
        model: The model's name.
        classes: How many classes the model has.
        connections: How many images are under way at once.
    """

    def __init__(self, url: str, model: str, classes: int, connections: int = 4) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/models/{model}/predict"
        self._classes = classes
        self._connections = connections
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=connections))

    def __enter__(self) -> Self:
        """Return this gateway."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close the connections."""
        self._session.close()

    def classify(self, data: bytes) -> Answer:
        """Send one encoded image.

        Raises:
            AnswerError: The gateway cannot be reached or says something else than probabilities.
        """
        return parse_answer(self._post(data=data, headers={"Content-Type": _media_type(data)}), self._classes)

    def classify_batch(self, batch: Sequence[bytes]) -> list[Answer | AnswerError]:
        """Send several encoded images, at least two, in one request; the answers come in their order.

        Raises:
            AnswerError: The gateway cannot be reached or says something else than results.
        """
        parts = [("image", (str(number), data, _media_type(data))) for number, data in enumerate(batch)]
        return parse_batch(self._post(files=parts), self._classes, len(batch))

    def classify_all(
        self, examples: Sequence[Example], on_answer: Callable[[int], object], batch_size: int = 1
    ) -> list[Answer | AnswerError]:
        """Send every image; the answers come in the order of the images.

        Args:
            examples: The images.
            on_answer: Called after each request with how many images it was for.
            batch_size: So many images go into one request.
        """

        def ask(start: int) -> list[Answer | AnswerError]:
            batch = [example.data for example in examples[start : start + batch_size]]
            try:
                return self.classify_batch(batch) if len(batch) > 1 else [self.classify(batch[0])]
            except AnswerError as error:
                return [error] * len(batch)
            finally:
                on_answer(len(batch))

        with ThreadPoolExecutor(self._connections) as pool:
            answered = list(pool.map(ask, range(0, len(examples), batch_size)))
        return [answer for answers in answered for answer in answers]

    def _post(self, *, headers: Mapping[str, str] | None = None, **body: Any) -> bytes:
        """Return the body of an answer of status 200."""
        try:
            response = self._session.post(
                self._url,
                params={"top_k": str(self._classes)},
                headers={"Accept": "application/json", **(headers or {})},
                timeout=TIMEOUT_S,
                **body,
            )
        except requests.RequestException as error:
            raise AnswerError(f"{self._url}: {error}") from error
        if response.status_code != requests.codes.ok:
            raise AnswerError(f"{self._url} answered {response.status_code}: {response.text[:500]}")
        return response.content


def _media_type(data: bytes) -> str:
    return f"image/{sniff(data) or 'unknown'}"


def parse_answer(body: bytes, classes: int) -> Answer:
    """Read the answer to one image.

    Raises:
        AnswerError: It is not of the form documented, or lacks a class.
    """
    document = _document(body)
    return _read_result(document, document, classes)


def parse_batch(body: bytes, classes: int, count: int) -> list[Answer | AnswerError]:
    """Read the answer to a batch; the image of an error is one that the gateway has a problem with.

    Raises:
        AnswerError: It is not of the form documented, a result lacks a class, or there are not `count`.
    """
    document = _document(body)
    results = document.get("results")
    if not isinstance(results, list) or len(results) != count:
        raise AnswerError(f"expected {count} results, found {body[:200]!r}")
    return [
        AnswerError(f"answered {result['status']}: {result.get('detail')}")
        if isinstance(result, dict) and "status" in result
        else _read_result(result, document, classes)
        for result in results
    ]


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise AnswerError(f"expected JSON, found {body[:200]!r}: {error}") from error
    if not isinstance(document, dict):
        raise AnswerError(f"expected a JSON object, found {body[:200]!r}")
    return document


def _read_result(result: Any, document: Mapping[str, Any], classes: int) -> Answer:
    """Read what is said of one image, by the model that the whole document names."""
    try:
        scores = {int(item["class_id"]): float(item["score"]) for item in result["predictions"]}
        probabilities = np.array([scores.pop(class_id) for class_id in range(classes)], np.float32)
        named = result.get("classes", [result])  # a multi-label model tells all that are there
        named_ids = frozenset(int(item["class_id"]) for item in named)
        answer = Answer(named_ids, probabilities, int(document["model"]["version"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnswerError(f"expected the scores of {classes} classes, found {str(result)[:200]}: {error!r}") from error
    if scores:
        raise AnswerError(f"expected {classes} classes, found others besides: {sorted(scores)}")
    return answer


def compare(answers: Sequence[Answer | AnswerError], offline: Evaluation, version: int) -> Comparison:
    """Compare answers with what the same version says offline.

    Args:
        answers: One per image.
        offline: What is expected, and what is right.
        version: The version that gave `offline`, and shall have given the answers.
    """
    mismatches = []
    largest = 0.0
    right = 0
    for index, (answer, wanted) in enumerate(zip(answers, _offline_answers(offline, version), strict=True)):
        problem = _problem(answer, wanted)
        if problem:
            mismatches.append(Mismatch(index, problem))
        if isinstance(answer, Answer):
            largest = max(largest, _difference(answer, wanted))
            right += int(answer.classes == _numbers(offline.targets[index]))
    images = len(offline.targets)
    return Comparison(images, right / images, offline.accuracy, largest, tuple(mismatches))


def _offline_answers(offline: Evaluation, version: int) -> Iterator[Answer]:
    for decided, probabilities in zip(offline.decided, offline.probabilities, strict=True):
        yield Answer(_numbers(decided), probabilities, version)


def _numbers(chosen: npt.NDArray[np.bool_]) -> frozenset[int]:
    return frozenset(np.flatnonzero(chosen).tolist())


def _difference(answer: Answer, wanted: Answer) -> float:
    return float(np.abs(answer.probabilities - wanted.probabilities).max())


def _problem(answer: Answer | AnswerError, wanted: Answer) -> str | None:
    if isinstance(answer, AnswerError):
        return str(answer)
    if answer.version != wanted.version:
        return f"version {answer.version} answered, compared with version {wanted.version}"
    difference = _difference(answer, wanted)
    if not difference <= TOLERANCE:
        return f"a probability differs by {difference:.2g}"
    if answer.classes != wanted.classes:
        return f"classes {sorted(answer.classes)}, offline {sorted(wanted.classes)}"
    return None
