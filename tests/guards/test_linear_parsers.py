"""Every parser on the path of a request takes linear time, tried on texts that are made of its own alphabet."""

import functools
import itertools
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.test import Client

from gateway.app import create_app
from gateway.errors import GatewayError
from gateway.fetching.destinations import Destinations
from gateway.host_patterns import is_host_pattern, matches_any
from gateway.http.base64_text import decode_base64
from gateway.http.hints import explain_base64
from gateway.http.json_objects import JsonLimits
from gateway.http.request_parser import FORM_FIELDS, check_names, parse_options
from gateway.models.configured import ConfiguredModels
from gateway.services import make_fetcher
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer, classifier, constant
from tests.support.regex_attacks import is_superlinear
from tests.support.wsgi_requests import make_parse
from vision.card import Card, InputSpec
from vision.foreign_kinds import name_kind

BODY_SIZE = 64 * 1024
"""Bodies of this size and four times as much are compared."""
BODY_FAST_S = 0.05
HEADER_SIZE = 2000
"""Four times as much is what gunicorn accepts for a line."""
HEADER_FAST_S = 0.01
MAX_BYTES = 10 * BODY_SIZE
PARSE = make_parse(max_bytes=MAX_BYTES, max_images=64, max_parts=96, limits=JsonLimits(max_depth=16, max_values=10_000))

PART = '--edge\r\nContent-Disposition: form-data; name="image"'
EDGE = "multipart/form-data; boundary=edge"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def cut(pieces: str) -> list[str]:
    """Return pieces of text, separated by a character that no parser knows."""
    return pieces.split("│")


BODIES = [
    (JSON, cut('│{"│{"image":"│{"image":"data:│{"url":"│{"top_k":│{"threshold":"│{"threshold":0.│{"instances":["')),
    (FORM, cut("│image=│url=│threshold=│top_k=│explain=│image=data:")),
    (EDGE, ["", "--edge", "--edge\r\n", PART, f"{PART}\r\n\r\n", f'{PART}; filename="a"\r\n\r\n']),
    ("multipart/form-data; boundary=-", cut("│---\r\n│---\r\n\r\n")),
    ("image/png", cut("│\x89PNG\r\n\x1a\n")),
]
BODY_PIECES = {
    JSON: cut('[│{│"│\\"│\\\\│\\│,│:│1│e│ │\\u0041│\\ud83d│"a":│a,│ä│😀│A=│{},│-│;base64,'),
    FORM: cut("&│=│%│+│%4│%41│%f1│a│1│a=&│ä│ │;base64,│{│A="),
    EDGE: cut(
        '-│--edge│\r\n│\r│\n│\r\n--edge│\r\n--edge │\r\n--edge\r\n│ │;│"│\\│a:b\r\n│a\r\n b│;a*0=b│;a*0*=%41│'
        "--edge\r\n\r\n│--edge--│%41│=│A"
    ),
}
OTHER_PIECES = cut("-│---│\r\n---│\r\n---\r\n│--- │a")


def is_slow(work: Callable[[str], object], start: str, piece: str, end: str = "", *, size: int, fast_s: float) -> bool:
    """Return whether work on a start, a repeated piece and an end takes more than linear time."""

    def text(length: int) -> str:
        return (start + piece * (length // len(piece)))[:length] + end

    # A quadratic parser shows at a sixteenth of the size, before it takes minutes.
    return any(
        is_superlinear(functools.partial(work, text(length)), functools.partial(work, text(4 * length)), fast_s=fast_s)
        for length in (size // 16, size)
    )


@pytest.mark.parametrize(("content_type", "starts"), BODIES)
def test_a_body_is_parsed_in_linear_time(content_type: str, starts: list[str]):
    def parse(text: str) -> object:
        return PARSE(content_type, text.encode("utf-8", "surrogatepass"))

    for start, piece in itertools.product(starts, BODY_PIECES.get(content_type, OTHER_PIECES)):
        assert not is_slow(parse, start, piece, size=BODY_SIZE, fast_s=BODY_FAST_S), (start, piece)


def test_a_form_is_parsed_in_linear_time_whatever_its_boundary():
    def parse(text: str) -> object:
        return PARSE(f"multipart/form-data; boundary={text[: len(text) // 8]}b", text.encode())

    for piece in ("-", "a", "a-", "--a"):
        assert not is_slow(parse, "", piece, size=BODY_SIZE, fast_s=BODY_FAST_S), piece


def quietly(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Return a function that returns the error if a text is refused."""

    def work(text: str) -> object:
        try:
            return parse(text)
        except (GatewayError, HTTPException, ValueError) as error:
            return error

    return work


OPTIONS = {
    name: functools.partial(lambda name, text: parse_options({}, {name: text}, default_top_k=5), name)
    for name in ("top_k", "threshold", "explain")
}
URLS = cut("│http://│http://a@│http://[│http://a/")
TEXTS: dict[str, tuple[Callable[[str], object], list[str], list[str]]] = {
    "top_k": (OPTIONS["top_k"], cut("│1"), cut("1│-│ │x│٣")),
    "threshold": (OPTIONS["threshold"], cut("│0.│.│1e"), cut("1│.│1.│e1│-│x│٣")),
    "explain": (OPTIONS["explain"], cut("│true"), cut("a│true")),
    "names": (lambda text: check_names([text], FORM_FIELDS, "field"), cut("│image"), cut("a│image│_│image_")),
    "many names": (lambda text: check_names(text.split(","), FORM_FIELDS, "field"), [""], cut("image,│image,x,")),
    "base64": (lambda text: decode_base64(lambda: [text.encode()]), cut("│data:"), cut("A│=│ │A=│,│;base64,│%")),
    "base64 in a form": (
        lambda text: decode_base64(lambda: [text.encode()], blank_is_plus=True),
        cut("│data:│A│AAAA AAAA"),
        cut("A│ │AAAA │A \n│=│;base64,"),
    ),
    "base64 in pieces": (
        lambda text: decode_base64(lambda: text.encode().split(b"|")),
        [""],
        [piece * 20 + "|" for piece in cut("A│ │=│A ")],
    ),
    "what is not base64": (
        lambda text: explain_base64(text, has_inner_blanks=True, in_form=True),
        cut("│data:│["),
        cut("a│%│\\│ │.│.jpg│,│/"),
    ),
    "what is not an image": (lambda text: name_kind(text.encode()), cut("│<│[│--"), cut("<│ │a│a \n│<svg│-│\0│ä")),
    "URL": (Destinations().check_url, URLS, cut("a│/│.│:│@│[│]│%41│\t│ä│?│#│;│1:")),
    "URL without a limit": (urlsplit, URLS, cut("a│/│:│@│[│]│\t│\n│ä│%│?│#")),
    "host pattern": (is_host_pattern, cut("│*."), cut("a│.│-│a.│1.│:│/│_")),
    "host": (lambda text: matches_any(text, ["*.a.b", "a.b"]), [""], cut("a│a.│.")),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_parsed_in_linear_time(name: str):
    parse, starts, pieces = TEXTS[name]
    for start, piece, end in itertools.product(starts, pieces, ("", "x")):
        assert not is_slow(quietly(parse), start, piece, end, size=BODY_SIZE, fast_s=BODY_FAST_S), (start, piece, end)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    server = FakeModelServer()
    card = Card(name="pets", labels=("cat", "dog", "fish"), input=InputSpec(height=4, width=4))
    server.swap("pets", 1, classifier(card, constant(0.2, 0.7, 0.1)))
    folder = tmp_path_factory.mktemp("gateway")
    settings = Settings(cards_dir=folder, trusted_proxies=1, cors_origins=("https://a.example",), log_level="error")
    models = ConfiguredModels.from_names(["pets"])
    return create_app(settings, server=server, fetcher=make_fetcher(settings), configured_models=models)


PIECES = cut('a│1│,│;│ │\t│"│\\"│=│"a",│W/"a",│a=b;│a="│1-,│0-1,│a,b│(│a*0=b;│*│%41│\'│/│.│:│-')
HEADERS = {
    "Accept": "",
    "Accept-Encoding": "",
    "Authorization": "Basic ",
    "Content-Type": "multipart/form-data; ",
    "Cookie": "",
    "Forwarded": "",
    "Host": "",
    "If-Match": "",
    "If-Modified-Since": "Mon, ",
    "If-None-Match": "",
    "If-Range": "",
    "If-Unmodified-Since": "",
    "Origin": "https://",
    "Prefer": "",
    "Range": "bytes=",
    "X-API-Key": "",
    "X-Forwarded-For": "",
    "X-Request-ID": "",
    "X-Request-Timeout": "1",
}


def send(client: Client, path: str, *, method: str = "GET", **request: Any) -> int:
    body = b"x" if method == "POST" else b""
    with client.open(path, method=method, data=body, **request) as response:
        return response.status_code


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_is_parsed_in_linear_time(app: Flask, header: str):
    client = app.test_client()

    def get(value: str) -> object:
        return send(client, "/docs", headers={header: value})

    def post(value: str) -> object:
        return send(client, "/api/v1/predict", method="POST", headers={header: value})

    for piece, work in itertools.product(PIECES, (get, post)):
        assert not is_slow(work, HEADERS[header], piece, size=HEADER_SIZE, fast_s=HEADER_FAST_S), piece


def test_a_path_is_parsed_in_linear_time(app: Flask):
    client = app.test_client()
    starts = ("/", "/api/v1/models/", "/api/v1/models/pets/versions/", "/static/")
    for start, piece in itertools.product(starts, cut("a│/│a/│.│../│1│ä│%│/api/v1")):
        assert not is_slow(functools.partial(send, client), start, piece, size=HEADER_SIZE, fast_s=HEADER_FAST_S), piece


def test_a_query_is_parsed_in_linear_time(app: Flask):
    client = app.test_client()

    def post(query: str) -> object:
        return send(client, "/api/v1/predict", method="POST", query_string=query)

    for start, piece in itertools.product(("", "top_k=", "threshold=", "explain="), cut("a│&│=│%│%41│+│a=1&│1│;")):
        assert not is_slow(post, start, piece, size=HEADER_SIZE, fast_s=HEADER_FAST_S), (start, piece)


def test_a_quadratic_parser_is_found():
    def quadratic(text: str) -> int:
        return sum(text.count("b") for _ in range(len(text) // 256))

    assert is_slow(quadratic, "", "a", size=BODY_SIZE, fast_s=BODY_FAST_S)
    assert not is_slow(lambda text: [ord(character) for character in text], "", "a", size=BODY_SIZE, fast_s=0.001)
