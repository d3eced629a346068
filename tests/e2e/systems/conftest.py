"""What the older systems were sent: nothing but host and path is another here."""

import pytest

from tests.support.stack import Stack


@pytest.fixture(scope="session")
def multilabel_stack(colour_stack: Stack) -> Stack:
    """The models of tests/support/colour_models.py; `lights` tells which of several colours shine in a picture."""
    return colour_stack
