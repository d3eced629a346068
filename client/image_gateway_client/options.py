"""Options of requests: their names, and how they are sent."""

import difflib
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Literal, TypedDict
from urllib.parse import quote

API = "/api/v1"
NOT_SEGMENTS = frozenset({"", ".", ".."})
QUERY_OPTIONS = ("top_k", "threshold", "explain")


class Target(TypedDict, total=False):
    """Options that every request for a classification has.

    Attributes:
        model: Name of the model; by default the gateway's default model.
        version: Number of the version; by default the newest.
        label: Label of the version, such as stable; instead of `version`.
        top_k: Number of classes to return.
        threshold: Minimum score, in 0..1, of a returned class.
    """

    model: str | None
    version: int | None
    label: str | None
    top_k: int | None
    threshold: float | None


class Options(Target, total=False):
    """Options of a classification.

    Attributes:
        explain: Whether to explain the top class: True for a heat map as an image, "raw" for its numbers.
    """

    explain: bool | Literal["raw"] | None


class JobOptions(Target, total=False):
    """Options of a job.

    Attributes:
        webhook_url: URL to which the gateway reports the end of the job.
        webhook_secret: Secret with which it signs that report: `whsec_` and 24 to 64 bytes in Base64.
    """

    webhook_url: str | None
    webhook_secret: str | None


def check_names(method: str, options: Mapping[str, object], accepted: Iterable[str]) -> None:
    """Refuse an unknown option, which would otherwise be ignored silently.

    Raises:
        TypeError: There is one; the message names the nearest that exists.
    """
    names = sorted(accepted)
    for name in options:
        if name not in names:
            similar = difflib.get_close_matches(name, names, n=1)
            hint = f"Did you mean {similar[0]!r}? " if similar else ""
            raise TypeError(f"{method} has no option {name!r}. {hint}Accepted: {', '.join(names)}.")


def check_options(method: str, options: Options) -> None:
    """Check the options of a classification.

    Raises:
        TypeError: One is unknown.
        ValueError: They contradict each other.
    """
    check_names(method, options, Options.__optional_keys__)
    check_target(options)


def check_target(options: Target) -> None:
    """Check which model the options select.

    Raises:
        ValueError: There is a version or label without a model, or both of them, or a name is not valid.
    """
    version, label = options.get("version"), options.get("label")
    if version is not None and label is not None:
        raise ValueError("Use either a version or a label, not both.")
    if options.get("model") is None and (version is not None or label is not None):
        raise ValueError("A version or a label needs a model; name it.")
    predict_path(options)


def is_segment(name: object) -> bool:
    """Return whether a name can be a segment of a path, where it does not lead to another route."""
    return isinstance(name, str) and name not in NOT_SEGMENTS and "/" not in name and name.isprintable()


def quote_segment(value: object, kind: str) -> str:
    """Return a name as a segment of a path.

    Raises:
        ValueError: It is not one that a model, version or label can have.
    """
    name = str(value)
    if not is_segment(name):
        raise ValueError(f"{name!r} is not a valid name of a {kind}.")
    return quote(name, safe="")


def predict_path(options: Target) -> str:
    """Return the path of the route that the options select."""
    model, version, label = options.get("model"), options.get("version"), options.get("label")
    if model is None:
        return f"{API}/predict"
    path = f"{API}/models/{quote_segment(model, 'model')}"
    if version is not None:
        path += f"/versions/{quote_segment(version, 'version')}"
    if label is not None:
        path += f"/labels/{quote_segment(label, 'label')}"
    return f"{path}/predict"


def query(options: Options) -> Mapping[str, str]:
    """Return the options of the query."""
    return to_texts({name: value for name, value in options.items() if name in QUERY_OPTIONS and value is not False})


def _to_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value + 0 if isinstance(value, Real) else value)  # a zero has no sign then


def to_texts(options: Mapping[str, object]) -> dict[str, str]:
    """Return the options that are set, as text."""
    return {name: _to_text(value) for name, value in options.items() if value is not None}
