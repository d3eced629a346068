"""Fixtures of the tests that download."""

from collections.abc import Iterator

import pytest

from tests.support.mirror import Mirror, serving


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with serving() as mirror:
        yield mirror
