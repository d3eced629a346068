"""Readiness: the default model is AVAILABLE and classifies its golden image correctly; checked once per version.

That the scores of every model are probabilities is checked by the registry, before a version answers at all.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog

from gateway.deadline import Deadline
from gateway.errors import GatewayError, ModelContractError, ModelFailedError, ModelOverloadedError, NotReadyError
from gateway.health import draining
from gateway.models.binding import ServedModel
from gateway.models.registry import ModelRegistry, ModelTarget
from gateway.prediction.image_loader import ImageBytes
from gateway.prediction.predictor import PredictionOptions, PredictionRequest, Predictor

REQUIREMENTS = ("version", "card", "golden image")
"""What readiness requires, in this order: an AVAILABLE version, its card, and the correct scores for a known image."""
GOLDEN = Path("assets.extra", "golden", "golden.json")
"""File in a version's folder that lists its golden images; training writes it."""
TOLERANCE = 0.01
"""Maximum difference of a score unless the file allows more. Hardware differs in rounding; a wrong model or a wrong
preparation of the image differs by far more."""
OVERLOAD_PAUSE_S = 0.05

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recording:
    """The scores of an image in one form of a version.

    Attributes:
        scores: The correct score of each class.
        tolerance: Maximum difference of a score.
    """

    scores: tuple[float, ...]
    tolerance: float = TOLERANCE


@dataclass(frozen=True, slots=True)
class Golden:
    """An image with known scores.

    Attributes:
        content: The image file.
        recordings: Its scores in each form of the version; the model server serves one of them.
    """

    content: bytes
    recordings: tuple[Recording, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why requests would not be answered.

    Attributes:
        detail: The reason.
        missing: The first of `REQUIREMENTS` that is missing.
        is_overload: Whether the model server merely had too many calls.
        cause: What the model server said about it, for the log.
    """

    detail: str
    missing: str
    is_overload: bool = False
    cause: str = ""


class Readiness:
    """Checks readiness on demand; safe to use from many threads: one checks, and the others share its result.

    Args:
        registry: Resolves the version that answers.
        predictor: Classifies the golden image.
        models_dir: Folder of the models; if it holds `NAME/VERSION/`, the golden images are read from there.
        status_deadline_s: Time limit on asking for the versions.
        golden_deadline_s: Time limit on classifying an image.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        predictor: Predictor,
        *,
        models_dir: Path,
        status_deadline_s: float,
        golden_deadline_s: float,
    ) -> None:
        self._registry = registry
        self._predictor = predictor
        self._models_dir = models_dir
        self._status_deadline_s = status_deadline_s
        self._golden_deadline_s = golden_deadline_s
        self._first_check_s = status_deadline_s + golden_deadline_s
        self._verified: ServedModel | None = None
        self._result: ServedModel | Fault | None = None
        self._lock = threading.Lock()

    def check(self) -> ServedModel:
        """Return the version of the default model that answers.

        Raises:
            NotReadyError: Something is missing, or this gateway is about to stop.
        """
        if draining.is_active():
            raise NotReadyError("The gateway is about to stop.", missing=[])
        result = self._result
        # While another thread checks, the last result is returned; only the very first check is waited for.
        if self._lock.acquire(timeout=self._first_check_s if result is None else 0):
            try:
                if self._result is result:
                    self._result = self._check()
                    _log_change(result, self._result)
                result = self._result
            finally:
                self._lock.release()
        if result is None:
            result = Fault("The first check has not finished yet.", "version")
        if isinstance(result, Fault):
            raise NotReadyError(result.detail, missing=list(REQUIREMENTS[REQUIREMENTS.index(result.missing) :]))
        return result

    def _check(self) -> ServedModel | Fault:
        """Check once or, for as long as the model server is overloaded and none was verified yet, several times."""
        deadline = Deadline.after(self._status_deadline_s)
        while True:
            result = self._check_once()
            if not isinstance(result, Fault) or not result.is_overload or deadline.has_passed:
                return result
            time.sleep(OVERLOAD_PAUSE_S)

    def _check_once(self) -> ServedModel | Fault:
        try:
            deadline = Deadline.after(self._first_check_s)
            served = self._registry.refresh(self._registry.default, deadline=deadline)
        except ModelOverloadedError as error:
            return self._overloaded(error, "version")
        except (ModelContractError, ModelFailedError) as error:
            return Fault(_named(self._registry.default, error.detail), "card", cause=_cause(error))
        except GatewayError as error:
            return Fault(error.detail, "version", cause=_cause(error))
        if served is not self._verified:
            try:
                self._verify(served)
            except ModelOverloadedError as error:
                return self._overloaded(error, "golden image")
            except (GatewayError, ValueError) as error:
                detail = _named(f"{served.name} version {served.version}", str(error))
                return Fault(detail, "golden image", cause=_cause(error))
            self._verified = served
        return served

    def _overloaded(self, error: ModelOverloadedError, missing: str) -> ServedModel | Fault:
        """Return the version that was verified last: the server is running and answers as many requests as it can."""
        return self._verified or Fault(error.detail, missing, is_overload=True)

    def _verify(self, served: ServedModel) -> None:
        """Classify the golden image, if the version has one.

        Raises:
            GatewayError: It was not classified.
            ValueError: Its scores are wrong, or the golden image cannot be used.
        """
        golden = read_golden(self._models_dir / served.name / str(served.version))
        if golden is None:
            return
        request = PredictionRequest(
            [ImageBytes(golden.content)],
            ModelTarget(served.name, served.version),
            PredictionOptions(top_k=len(served.card.labels)),
            Deadline.after(self._golden_deadline_s),
        )
        (prediction,) = self._predictor.predict(request).predictions
        if isinstance(prediction, GatewayError):
            raise prediction
        scores = {item["class_id"]: item["score"] for item in prediction["predictions"]}
        _check_recorded(scores, golden.recordings)


def _named(model: str, reason: str) -> str:
    """Return a reason that begins with the name of the model."""
    return reason if reason.startswith(model) else f"{model}: {reason}"


def _cause(error: Exception) -> str:
    """Return the model server's own message, which may name paths and hosts."""
    return error.__cause__.details() or "" if isinstance(error.__cause__, grpc.RpcError) else ""


def _log_change(before: ServedModel | Fault | None, after: ServedModel | Fault) -> None:
    """Log the reason when readiness is lost or its reason changes, and when it comes back."""
    if isinstance(after, Fault):
        if not isinstance(before, Fault) or before.detail != after.detail:
            log.warning("not_ready", reason=after.detail, missing=after.missing, cause=after.cause)
    elif isinstance(before, Fault):
        log.info("ready", model=after.name, version=after.version)


def read_golden(folder: Path) -> Golden | None:
    """Read the first golden image of a version; None if its folder has none or is not visible from here.

    Raises:
        ValueError: The files are damaged.
    """
    path = folder / GOLDEN
    try:
        document = json.loads(path.read_bytes())
        first = document["images"][0]
        content = (path.parent / first["file"]).read_bytes()
        recordings = [_recording(first, document, "")]
        if "tflite_probabilities" in first:
            recordings.append(_recording(first, document, "tflite_"))
        return Golden(content, tuple(recordings))
    except OSError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error


def _recording(image: Mapping[str, Any], document: Mapping[str, Any], prefix: str) -> Recording:
    scores = tuple(map(float, image[f"{prefix}probabilities"]))
    return Recording(scores, max(TOLERANCE, float(document[f"{prefix}tolerance"])))


def _check_recorded(scores: Mapping[int, float], recordings: Sequence[Recording]) -> None:
    """Check that scores are those of one of the forms."""
    faults = [_difference(scores, recording) for recording in recordings]
    if all(faults):
        raise ValueError(faults[-1])


def _difference(scores: Mapping[int, float], expected: Recording) -> str | None:
    """Return how scores differ from those of one form; None if they do not."""
    if len(scores) != len(expected.scores):
        return f"the golden image has {len(expected.scores)} scores, the model returned {len(scores)}"
    difference = max(abs(scores[class_id] - score) for class_id, score in enumerate(expected.scores))
    if difference > expected.tolerance:
        return f"a score of the golden image differs by {difference:.4f}; at most {expected.tolerance} is accepted"
    return None
