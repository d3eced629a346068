"""Whether requests for the default model would be answered, and rightly: proven by a picture, anew for each version."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gateway.deadline import Deadline
from gateway.errors import GatewayError, ModelContractError, ModelFailedError, ModelOverloadedError, NotReadyError
from gateway.health import draining
from gateway.models.binding import ServedModel
from gateway.models.registry import Catalog, Target
from gateway.prediction.classifier import Answer, Classifier, Inquiry
from gateway.prediction.image_loader import Upload
from gateway.prediction.options import Options
from vision.card import Card

NEEDED = ("version", "card", "golden image")
"""What has to be there, in this order: an AVAILABLE version, its card, and the right answer to a known picture."""
GOLDEN = Path("assets.extra", "golden", "golden.json")
"""Where a version's golden images are told, in its folder; training writes them."""
TOLERANCE = 0.01
"""Largest difference of a score, where the file does not allow more: other hardware rounds otherwise, and a wrong model
or a wrong preparation of the picture shows by far more."""
SUM_TOLERANCE = 0.05
GRAY = 128


@dataclass(frozen=True, slots=True)
class Golden:
    """A picture whose answer is known.

    Attributes:
        content: The image file.
        scores: The right score of each class; None where nobody recorded it, and any probabilities are right.
        tolerance: Largest difference of one of them.
    """

    content: bytes
    scores: tuple[float, ...] | None = None
    tolerance: float = TOLERANCE


@dataclass(frozen=True, slots=True)
class Fault:
    """Why requests would not be answered, and the first of `NEEDED` that is missing."""

    detail: str
    missing: str


class Readiness:
    """Checks on demand; safe to use from many threads, of which one asks and the others get what was found last.

    Args:
        catalog: Which version answers.
        classifier: Asks it.
        models_dir: Where `NAME/VERSION/` lies, or does not, with the golden images of a version.
        look_deadline_s: Time to learn which version answers.
        golden_deadline_s: Time for the answer to the golden image.
    """

    def __init__(
        self,
        catalog: Catalog,
        classifier: Classifier,
        *,
        models_dir: Path,
        look_deadline_s: float,
        golden_deadline_s: float,
    ) -> None:
        self._catalog = catalog
        self._classifier = classifier
        self._models_dir = models_dir
        self._look_deadline_s = look_deadline_s
        self._golden_deadline_s = golden_deadline_s
        self._proven: ServedModel | None = None
        self._found: ServedModel | Fault = Fault("It has not been checked yet.", "version")
        self._lock = threading.Lock()

    def check(self) -> ServedModel:
        """Give the version of the default model that answers.

        Raises:
            NotReadyError: something is missing, or this gateway is about to stop.
        """
        if draining.begun():
            raise NotReadyError("The gateway is about to stop.", missing=[])
        if self._lock.acquire(blocking=False):
            try:
                self._found = self._ask()
            finally:
                self._lock.release()
        found = self._found
        if isinstance(found, Fault):
            raise NotReadyError(found.detail, missing=list(NEEDED[NEEDED.index(found.missing) :]))
        return found

    def _ask(self) -> ServedModel | Fault:
        try:
            deadline = Deadline.after(self._look_deadline_s)
            served = self._catalog.look(self._catalog.default, deadline=deadline)
        except ModelOverloadedError as error:  # it is there, and answers all that it can
            return self._proven or Fault(error.detail, "version")
        except (ModelContractError, ModelFailedError) as error:
            return Fault(error.detail, "card")
        except GatewayError as error:
            return Fault(error.detail, "version")
        if served is not self._proven:
            try:
                self._prove(served)
            except (GatewayError, ValueError) as error:
                return Fault(f"{served.name} version {served.version}: {error}", "golden image")
            self._proven = served
        return served

    def _prove(self, served: ServedModel) -> None:
        """Ask about the golden image.

        Raises:
            GatewayError: there is no answer.
            ValueError: it is wrong, or the golden image cannot be used.
        """
        card = served.card
        golden = recorded(self._models_dir / served.name / str(served.version)) or Golden(_plain(card))
        target = Target(served.name, served.version)
        asked = Inquiry(target, Options(top_k=len(card.labels)), Deadline.after(self._golden_deadline_s))
        (result,) = self._classifier.classify([Upload(golden.content)], asked).results
        if not isinstance(result, Answer):
            raise result
        scores = {item.class_id: item.score for item in result.predictions}
        if golden.scores is None:
            _check_probabilities(scores, card)
        else:
            _check_recorded(scores, golden.scores, golden.tolerance)


def recorded(folder: Path) -> Golden | None:
    """Read the first golden image of a version; None where its folder, or that in it, is not to be seen from here.

    Raises:
        ValueError: they are there and damaged.
    """
    path = folder / GOLDEN
    try:
        told = json.loads(path.read_bytes())
        first = told["images"][0]
        content = (path.parent / first["file"]).read_bytes()
        return Golden(content, tuple(map(float, first["probabilities"])), max(TOLERANCE, float(told["tolerance"])))
    except OSError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error


def _plain(card: Card) -> bytes:
    """Draw a gray picture of the size that the model takes."""
    _, png = cv2.imencode(".png", np.full((card.input.height, card.input.width), GRAY, np.uint8))
    return png.tobytes()


def _check_recorded(scores: Mapping[int, float], right: tuple[float, ...], tolerance: float) -> None:
    if len(scores) != len(right):
        raise ValueError(f"the golden image has {len(right)} scores, the model {len(scores)}")
    worst = max(abs(scores[class_id] - score) for class_id, score in enumerate(right))
    if worst > tolerance:
        raise ValueError(f"a score of the golden image differs by {worst:.4f} from the right one, at most {tolerance}")


def _check_probabilities(scores: Mapping[int, float], card: Card) -> None:
    if not all(0 <= score <= 1 for score in scores.values()):
        raise ValueError("the scores of a gray picture are no probabilities from 0 to 1")
    total = sum(scores.values())
    if card.task == "multiclass" and abs(total - 1) > SUM_TOLERANCE:
        raise ValueError(f"the scores of a gray picture add up to {total:.3f}, not to 1")
