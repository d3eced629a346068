"""The documentation reads like plain English: short sentences, and none of the phrases that sound translated."""

import re
import statistics
from pathlib import Path

import pytest

from tests.support import prose

ROOT = Path(__file__).parents[2]
OTHERS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "client/README.md", "examples/README.md")
GENERATED = {"docs/reference/problems.md", "docs/reference/settings.md"}  # their words are those of the gateway
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in (*(ROOT / name for name in OTHERS), *sorted(ROOT.glob("docs/**/*.md")))
    if "decisions" not in path.parts
]
MAX_MEAN_WORDS = 20
MAX_WORDS = 40
MIN_SENTENCES = 1500
CONTEXT = 40
BANNED = re.compile(
    r"(?<!there )\b(?:is|are) no (?!longer\b|more\b)\w+"  # is not a ...
    r"|\b(?:asked|told|gone by|whoever)\b"  # requested, said, relies on, anyone
    r"|\bof (?:its|their) own\b|\bof ours\b"  # separate
    r"|\b(?:say|says) so\b|\btells?\b"  # prints that, shows
    r"|\bby itself\b|\bcomes? on top\b",
    re.IGNORECASE,
)


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_sentences_are_short(page: str):
    sentences = list(prose.sentences(text(page)))
    lengths = [prose.words(sentence) for sentence in sentences]

    assert statistics.mean(lengths) <= MAX_MEAN_WORDS
    assert [sentence for sentence in sentences if prose.words(sentence) > MAX_WORDS] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED])
def test_no_phrase_sounds_translated(page: str):
    words = prose.without_code(text(page))

    assert [words[match.start() - CONTEXT : match.end() + CONTEXT] for match in BANNED.finditer(words)] == []


def test_the_pages_have_many_sentences():
    assert sum(len(list(prose.sentences(text(page)))) for page in PAGES) > MIN_SENTENCES


@pytest.mark.parametrize(
    ("markdown", "lengths"),
    [
        ("# Not this\n\nOne two three. Four five!\n", [3, 2]),
        ("A `call()` of [two words](page.md#x).\n\n    not code\n\n```sh\nnor this\n```\n", [5]),
        ("- One item,\n  which goes on\n- another: Second sentence\n", [5, 1, 2]),
        ("It takes 10 ms, i.e. 1.5 times as long.\n", [9]),
    ],
)
def test_sentences_are_counted_without_code(markdown: str, lengths: list[int]):
    assert [prose.words(sentence) for sentence in prose.sentences(markdown)] == lengths
