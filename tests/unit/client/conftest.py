"""A gateway whose limits and failures a test can choose."""

from collections.abc import Iterator

import pytest

from image_gateway_client import Client
from tests.support.contract_gateway import ContractGateway


@pytest.fixture
def gateway() -> Iterator[ContractGateway]:
    with ContractGateway() as gateway:
        yield gateway


@pytest.fixture
def client(gateway: ContractGateway) -> Iterator[Client]:
    with Client(gateway.url, timeout_s=20) as client:
        yield client
