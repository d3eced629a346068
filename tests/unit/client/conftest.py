"""A gateway to ask, with every limit and failure at hand."""

from collections.abc import Iterator

import pytest

from image_gateway_client import Client
from tests.support.contract_gateway import ContractGateway


@pytest.fixture
def gateway() -> Iterator[ContractGateway]:
    with ContractGateway() as serving:
        yield serving


@pytest.fixture
def client(gateway: ContractGateway) -> Iterator[Client]:
    with Client(gateway.url, timeout_s=20) as made:
        yield made
