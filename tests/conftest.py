"""Order of the tests: random, but for modules whose tests replay a recorded sequence against one server."""

from collections.abc import Iterator

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "in_order: the tests of the module run in the order in which they are written")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    written = {item: index for index, item in enumerate(items)}
    yield
    places: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        if item.get_closest_marker("in_order"):
            places.setdefault(item.nodeid.partition("::")[0], []).append(index)
    for indices in places.values():
        in_order = sorted((items[index] for index in indices), key=written.__getitem__)
        for index, item in zip(indices, in_order, strict=True):
            items[index] = item
