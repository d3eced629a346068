"""What the tests of the data's sources share."""

from collections.abc import Iterator

import pytest

from tests.support.mirror import Mirror, serving


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with serving() as mirror:
        yield mirror
