from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.raw_server import RawServer, Script

pytest.register_assert_rewrite("tests.contracts.model_server")


@pytest.fixture
def serve() -> Iterator[Callable[..., RawServer]]:
    """Return a function that starts servers which answer with a script and end with the test."""
    with ExitStack() as stack:

        def start(script: Script, **options: Any) -> RawServer:
            return stack.enter_context(RawServer(script, **options))

        yield start
