"""The nearest route to a path that has none, and the methods that a path takes, for the problems 404 and 405."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from werkzeug.routing import Map

IMPLIED_METHODS = frozenset({"HEAD", "OPTIONS"})
MAX_COMPARED_LENGTH = 160
"""Limit on paths that are compared with the routes, which takes time in proportion to the product of lengths."""
MAX_QUOTED = 100
MAX_QUOTED_METHOD = 20
MIN_SIMILARITY = 0.6
PREDICT = "/api/v1/predict"
ENDS_OF_PREDICTIONS = ("/predict", ":predict", "/infer")
"""How paths of predictions end, here and in other protocols."""
OTHER_PROTOCOLS = ("/v1/", "/v2/")
JOBS = "/api/v1/jobs"
"""Exist only if they are switched on."""
SLASHES = re.compile("/+")
PLACEHOLDER = re.compile(r"<(?:(\w+):)?(\w+)>")
ANY = "*"
"""Stands for the value of a placeholder when paths are compared."""
VERB = re.compile(r"[:/](?:predict|predictions|classify|regress|infer|invoke)$")
"""How other servers end the path of a prediction, such as TensorFlow Serving's `/v1/models/cats:predict`."""
COLON = re.compile(r":(?=\w+$)")
TORCHSERVE = re.compile(r"^/predictions/([^/]+)$")
MAX_ALIAS_SEGMENTS = 4
HIDDEN = ("/metrics", "/playground/", "/models", "/compare")
"""Beginnings of routes that are not suggested: metrics, which nginx does not serve, what only the page needs, and
pages whose names are near to those of the API, which a program means."""
ALIASES = {
    **dict.fromkeys(("classify", "infer", "inference", "invocations", "upload"), PREDICT),
    **dict.fromkeys(("health", "healthz", "healthcheck", "live", "status", "ping"), "/livez"),
    **dict.fromkeys(("ready", "readiness"), "/readyz"),
    **dict.fromkeys(("swagger", "swagger-ui", "redoc", "apidocs", "api"), "/docs"),
}
"""Routes under the names that other services give them, by the last segment of the path."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A route whose placeholders have the values that a path seems to have for them.

    Attributes:
        path: Path of the route with these values.
        methods: The methods that the route takes.
        similarity: How similar the rest is to the rest of the path that was sent, from 0 to 1.
    """

    path: str
    methods: tuple[str, ...]
    similarity: float


@dataclass(frozen=True, slots=True)
class _Route:
    segments: tuple[str, ...]
    methods: tuple[str, ...]

    def compare(self, sent: list[str]) -> _Candidate | None:
        """Compare with the segments of a path; None if that has no value for a placeholder."""
        filled, pattern, rest = list(self.segments), list(self.segments), list(sent)
        for index, segment in enumerate(self.segments):
            placeholder = PLACEHOLDER.fullmatch(segment)
            if placeholder is None:
                continue
            name = self.segments[index - 1]
            # Prefixes such as /api are left out more often than ends.
            position = sent.index(name) + 1 if name in sent else len(sent) - len(self.segments) + index
            value = sent[position] if 0 < position < len(sent) and _is_like(sent[position - 1], name) else ""
            if not value or (placeholder[1] == "int" and not value.isdecimal()):
                return None
            filled[index], pattern[index], rest[position] = value, ANY, ANY
        matcher = difflib.SequenceMatcher(None, "/".join(rest).lower(), "/".join(pattern))
        return _Candidate("/".join(filled).replace("/:", ":"), self.methods, matcher.ratio())


class RouteHints:
    """Says which route a caller may have meant.

    Args:
        url_map: The routes of the application, which are read when they are first needed.
    """

    def __init__(self, url_map: Map) -> None:
        self._url_map = url_map

    def no_route(self, method: str, path: str, root: str = "") -> str:
        """Return what is wrong with a request whose path has no route, and the nearest route.

        Args:
            method: The method of the request.
            path: Its path below the root.
            root: The path below which the application is served, such as `/gw`; see `RootPath`.
        """
        if (path == JOBS or path.startswith(f"{JOBS}/")) and not self._has_jobs:
            return "This gateway accepts no jobs. Its operator can switch them on with GATEWAY_JOBS."
        near = self._nearest(method, path) if len(path) <= MAX_COMPARED_LENGTH else None
        advice = f"GET {root}/api/v1/openapi.json lists all routes, and {root}/docs shows them."
        if near:
            advice = f"Did you mean {near[0]} {root}{near[1]}?"
        return f"There is no route {method[:MAX_QUOTED_METHOD]} {_shorten(root + path)}. {advice}"

    def wrong_method(self, method: str, path: str, allowed: Iterable[str], root: str = "") -> str:
        """Return what is wrong with a request whose path does not take its method, and what to do.

        Args:
            method: The method of the request.
            path: Its path below the root.
            allowed: The methods that the path takes.
            root: See `no_route`.
        """
        methods = sorted(set(allowed) - IMPLIED_METHODS)
        sentence = f"{_shorten(root + path)} takes {' or '.join(methods)}; this was {method[:MAX_QUOTED_METHOD]}."
        if "POST" in methods and not path.startswith(OTHER_PROTOCOLS):
            return f"{sentence} Send an image, for example with `curl -F image=@photo.jpg URL`."
        for prediction in (path.rstrip("/") + end for end in ENDS_OF_PREDICTIONS):
            if method == "POST" and self._url_map.bind("").test(prediction, method):
                return f"{sentence} Did you mean POST {_shorten(root + prediction)}?"
        if method == "POST":
            return f"{sentence} Images are classified by POST {root}{PREDICT}."
        return f"{sentence} Send {' or '.join(methods)}."

    def _fits(self, candidate: _Candidate) -> bool:
        """Return whether its values are ones that the route takes, as a name with a colon may not be."""
        return self._url_map.bind("").test(candidate.path, candidate.methods[0])

    @cached_property
    def _has_jobs(self) -> bool:
        return any(rule.rule == JOBS for rule in self._url_map.iter_rules())

    @cached_property
    def _routes(self) -> list[_Route]:
        return [
            _Route(
                tuple(rule.rule.replace(">:", ">/:").split("/")),
                tuple(sorted((rule.methods or set()) - IMPLIED_METHODS)),
            )
            for rule in self._url_map.iter_rules()
            if "<path:" not in rule.rule and not rule.rule.startswith(HIDDEN)
        ]

    def _nearest(self, method: str, path: str) -> tuple[str, str] | None:
        """Return method and path of the nearest route, of one that takes the method if several are near.

        A route of another protocol is only near to a path of that protocol.
        """
        sent = _normalize(path).split("/")
        if method == "POST" and PREDICT.startswith("/".join([*sent, ""])):
            return method, PREDICT
        protocol = _protocol("/".join(sent))
        candidates = [
            candidate
            for route in self._routes
            if (candidate := route.compare(sent)) and _protocol(candidate.path) in {protocol, ""}
        ]
        near = [
            candidate for candidate in candidates if candidate.similarity >= MIN_SIMILARITY and self._fits(candidate)
        ]
        if not near and len(sent) <= MAX_ALIAS_SEGMENTS:
            alias = ALIASES.get(sent[-1].lower())
            near = [candidate for candidate in candidates if candidate.path == alias]
        if not near:
            return None
        best = max(near, key=lambda near: (_protocol(near.path) == protocol, method in near.methods, near.similarity))
        return method if method in best.methods else best.methods[0], best.path


def _protocol(path: str) -> str:
    """Return the first segment of a path of another protocol, and nothing for one of this API."""
    return next((prefix for prefix in OTHER_PROTOCOLS if path.startswith(prefix)), "")


def _is_like(word: str, name: str) -> bool:
    return difflib.SequenceMatcher(None, word.lower(), name).ratio() >= MIN_SIMILARITY


def _normalize(path: str) -> str:
    """Return a path without empty segments, and with the words that other servers have for a prediction replaced."""
    plain = SLASHES.sub("/", path).rstrip("/")
    return VERB.sub("/predict", TORCHSERVE.sub(r"/models/\1/predict", COLON.sub("/", plain)))


def _shorten(path: str) -> str:
    return path if len(path) <= MAX_QUOTED else f"{path[:MAX_QUOTED]}…"
