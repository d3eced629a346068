"""The sentences of a Markdown page, without code, tables and headings."""

import re
from collections.abc import Iterator

_FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+")
_DROPPED_LINE = re.compile(r"^(?:\||#|<!--|!\[|\[[\w-]+\]: ).*$", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_ITEM = re.compile(r"^ *(?:[-*]|\d+\.) +", re.MULTILINE)
_CODE = re.compile(r"`[^`]*`")
_ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|etc|vs)\.", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?:])[\"')*]*\s+(?=[\"'(*`]*[A-Z`0-9])")
_WORD = re.compile(r"[\w'.,%-]*\w[\w'%-]*")


def plain(markdown: str) -> str:
    """Return the prose of a page: paragraphs and items of lists, with code as one word."""
    text = _FENCE.sub("", f"\n{markdown}\n")
    text = _INDENTED.sub("", text)
    text = _DROPPED_LINE.sub("", text)
    text = _LINK.sub(r"\1", text)
    text = _CODE.sub("Code", text)
    text = _ITEM.sub("\n", text)
    return _ABBREVIATIONS.sub(r"\1", text)


def without_code(markdown: str) -> str:
    """Return all words of a page, those of tables and headings too."""
    text = _INDENTED.sub("", _FENCE.sub("", f"\n{markdown}\n"))
    return " ".join(_CODE.sub("Code", _LINK.sub(r"\1", text)).split())


def sentences(markdown: str) -> Iterator[str]:
    """Yield the sentences of a page; a colon before a capital ends one, and so does the end of a paragraph."""
    for paragraph in re.split(r"\n\s*\n", plain(markdown)):
        for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
            if _WORD.search(sentence):
                yield sentence.strip(" *")


def words(sentence: str) -> int:
    """Return the number of words of a sentence."""
    return len(_WORD.findall(sentence))
