"""What the older systems were sent: nothing but host and path is another here."""

import pytest

from tests.support.stack import RunningStack


@pytest.fixture(scope="session")
def multilabel_stack(colour_stack: RunningStack) -> RunningStack:
    """The models of tests/support/colour_models.py; `lights` tells which of several colours shine in a picture."""
    return colour_stack
