"""Settings of Hypothesis, and the order of the tests.

It is random, but for modules that replay a sequence, and with those that take minutes first.
"""

from collections.abc import Iterator

import hypothesis
import pytest

MARKERS = (
    "in_order: the tests of the module run in the order in which they are written",
    "minutes: starts first, so that in parallel runs it does not keep one process busy while the others are done",
)


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.register_profile("busy machine", deadline=None)
    hypothesis.settings.load_profile("busy machine")  # no time limit on an example
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    source_positions = {item: index for index, item in enumerate(items)}
    yield
    indices_by_module: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        if item.get_closest_marker("in_order"):
            indices_by_module.setdefault(item.nodeid.partition("::")[0], []).append(index)
    for indices in indices_by_module.values():
        module_items = sorted((items[index] for index in indices), key=source_positions.__getitem__)
        for index, item in zip(indices, module_items, strict=True):
            items[index] = item
    items.sort(key=lambda item: item.get_closest_marker("minutes") is None)
