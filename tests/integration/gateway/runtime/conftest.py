"""A gateway whose log the tests read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.light_gateway import LightGateway, light_gateway


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "gateway.log"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, log: Path) -> Iterator[LightGateway]:
    with log.open("ab") as stderr, light_gateway(tmp_path_factory.mktemp("run"), stderr) as gateway:
        yield gateway
