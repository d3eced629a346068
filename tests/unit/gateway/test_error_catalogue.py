"""Whatever goes wrong, its text says what arrived, what is accepted and what to do, in plain English."""

import re
from collections import Counter

import pytest

from gateway.openapi.problems import all_problems
from tests.support.error_catalogue import Entry, catalogue

MIN_ENTRIES = 80
MAX_LENGTH = 400
CODE_WORDS = re.compile(
    r"codec|NoneType|Traceback|Errno|\w+Error\b|\w+Exception\b|object at 0x|<class|\b[bu]'|\bNone\b|\bTrue\b|\bFalse\b"
    r"|\b(?:str|int|dict|bool|tuple|bytearray|ndarray)\b|urllib3?\b|\(char \d+\)$"
)
"""Words of Python and its libraries."""
ADVICE = re.compile(
    r"\b(?:accepted|allowed|at least|at most|check|convert|did you mean|expected|let|lists|must|omit|retry|scale|send"
    r"|served|switch|try|use|write)\b",
    re.IGNORECASE,
)
"""Words that say what is accepted, or what to do."""
RARE = {
    "body-timeout",
    "idempotency-key-reused",
    "jobs-unavailable",
    "keys-unavailable",
    "metrics-unavailable",
    "version-gone",
}
"""Problems that take a slow client, another request before, a damaged file or a race."""
UNADVISED = {
    "JSON in Latin-1",
    "JSON that is not",
    "a form that is cut off",
    "a gzip body",
    "a part without a name",
    "a trailing comma",
    "an empty file",
    "not base64",
    "single quotes",
    "text instead of a file",
    "the path of a file in a form",
}
"""Cases whose text may do without advice: it names the one thing that is wrong."""


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    return list(catalogue(tmp_path_factory.mktemp("catalogue")))


def test_every_kind_of_problem_is_provoked(entries: list[Entry]):
    assert len(entries) >= MIN_ENTRIES
    provoked = {entry.type for entry in entries} - {"about:blank"}
    assert {problem.type_uri for problem in all_problems()} - provoked == {f"/problems/{slug}" for slug in RARE}


def test_every_case_has_its_own_name(entries: list[Entry]):
    assert [name for name, count in Counter(entry.name for entry in entries).items() if count > 1] == []


def test_every_text_is_a_short_sentence_or_two(entries: list[Entry]):
    for entry in entries:
        assert entry.detail.endswith((".", "?")), entry
        assert len(entry.detail) <= MAX_LENGTH, entry


def test_no_text_speaks_of_the_code(entries: list[Entry]):
    assert [str(entry) for entry in entries if CODE_WORDS.search(f"{entry.title} {entry.detail}")] == []


def test_no_text_repeats_its_title(entries: list[Entry]):
    assert [str(entry) for entry in entries if entry.title.lower() in entry.detail.lower()] == []


def test_what_a_caller_can_mend_says_how(entries: list[Entry]):
    unadvised = {entry.name for entry in entries if entry.status < 500 and not ADVICE.search(entry.detail)}
    assert unadvised <= UNADVISED
