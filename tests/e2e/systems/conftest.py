"""Requests of older systems: clients change only the host and the path."""

import pytest

from tests.support.stack import RunningStack


@pytest.fixture(scope="session")
def multilabel_stack(colour_stack: RunningStack) -> RunningStack:
    """Return a stack with the models of tests/support/colour_models.py; `lights` scores each colour separately."""
    return colour_stack
