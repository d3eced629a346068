"""Results told again for a picture that was asked about before: by its bytes, the model's version and the options.

A result is told only while the version that gave it is the one that would be asked: the model server says so anew for
each request that finds one. A picture that many ask about at once is computed once.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.models.binding import ServedModel
from gateway.models.registry import Catalog
from gateway.observability import metrics
from gateway.prediction import schemas
from gateway.prediction.classifier import Inquiry
from gateway.prediction.image_loader import ImageSource, Pictures, Upload
from gateway.prediction.options import Options
from gateway.prediction.predictor import Answering, Results

NAME = "image-gateway"
"""What this cache is called in Cache-Status."""
CLAIMED = b""
"""Stands for a result that another request computes; no result is empty."""


class Store(Protocol):
    """Keeps bytes under keys for some time; safe to use from many threads."""

    def find(self, keys: Sequence[str], *, claim_s: float) -> list[bytes | None]:
        """Give the value of each key.

        None means that there is none and that nobody computes it: it is the caller's now, for `claim_s` at most, who
        has to `settle` it. `CLAIMED` means that another does.
        """

    def settle(self, key: str, value: bytes | None) -> None:
        """Keep what the caller computed for a key of its own; None gives it back without a value."""

    def wait(self, key: str, *, deadline: Deadline) -> bytes | None:
        """Wait for the value of a key that was `CLAIMED`; None where it came to nothing.

        Raises:
            DeadlineExceededError: it was not there in time.
        """


@dataclass(frozen=True, slots=True)
class Cached:
    """Asks the model server about those pictures alone whose results are not kept.

    Attributes:
        direct: What asks it.
        catalog: Which version of a model answers.
        pictures: Gets the bytes of images.
        store: Where results are kept.
    """

    direct: Answering
    catalog: Catalog
    pictures: Pictures
    store: Store

    def answer(self, sources: Sequence[ImageSource | GatewayError], asked: Inquiry) -> Results:
        """Answer from the store, and by the model server what is missing there; see `Answering`."""
        served = self.catalog.choose(asked.target, deadline=asked.deadline)
        contents = self.pictures.contents(sources, deadline=asked.deadline, timings=asked.timings)
        uploads = [item if isinstance(item, GatewayError) else Upload(item) for item in contents]
        keys = [_key(served, item.data, asked.options) if isinstance(item, Upload) else item for item in uploads]
        wanted = {key: item for key, item in zip(keys, uploads, strict=True) if isinstance(key, str)}
        found = dict(zip(wanted, self.store.find([*wanted], claim_s=asked.deadline.remaining_s()), strict=True))
        told = self._computed(served, {key: wanted[key] for key in found if found[key] is None}, asked)
        kept = {
            key: self.store.wait(key, deadline=asked.deadline) if value == CLAIMED else value
            for key, value in found.items()
            if value is not None
        }
        told |= {key: json.loads(value) for key, value in kept.items() if value is not None}
        swapped = bool(kept) and not self.catalog.answers_now(served, asked.target, deadline=asked.deadline)
        if swapped or not told or len(told) < len(wanted):  # or what computed another's result failed
            reason = "stale" if swapped else "miss"
            return dataclasses.replace(self.direct.answer(uploads, asked), cache_status=f"{NAME}; fwd={reason}")
        items = [told[key] if isinstance(key, str) else key for key in keys]
        return Results(served, items, _status(found))

    def _computed(
        self, served: ServedModel, missing: Mapping[str, ImageSource | GatewayError], asked: Inquiry
    ) -> dict[str, schemas.Result | GatewayError]:
        """Ask the model server, and keep what it says; give nothing where another version has answered."""
        told: dict[str, schemas.Result | GatewayError] = {}
        try:
            if missing:
                fresh = self.direct.answer([*missing.values()], asked)
                if fresh.model is served:
                    told = dict(zip(missing, fresh.items, strict=True))
        finally:
            for key in missing:
                result = told.get(key)
                is_result = result is not None and not isinstance(result, GatewayError)
                self.store.settle(key, json.dumps(result).encode() if is_result else None)
        return told


def _key(served: ServedModel, content: bytes, options: Options) -> str:
    asked = f"{options.top_k}:{options.threshold}:{options.explain}"
    return f"{served.name}:{served.version}:{served.card_digest}:{asked}:{hashlib.sha256(content).hexdigest()}"


def _status(found: Mapping[str, bytes | None]) -> str:
    """Write Cache-Status (RFC 9211), and count."""
    stored = sum(value is None for value in found.values())
    collapsed = sum(value == CLAIMED for value in found.values())
    hits = len(found) - stored - collapsed
    for outcome, number in (("hit", hits), ("miss", stored), ("collapsed", collapsed)):
        metrics.CACHE.labels(outcome).inc(number)
    if hits == len(found):
        return f"{NAME}; hit"
    status = f"{NAME}; fwd=miss; {'stored' if stored else 'collapsed'}"
    return f'{status}; detail="{hits} of {len(found)} were kept"' if hits else status
