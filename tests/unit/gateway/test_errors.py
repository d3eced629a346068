from collections.abc import Iterator

from gateway.errors import GatewayError


def subclasses(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_error_defines_its_own_slug():
    errors = list(subclasses(GatewayError))
    assert len(errors) > 20

    inherited = [error.__name__ for error in errors if "slug" not in vars(error)]
    assert inherited == []

    slugs = [error.slug for error in errors]
    assert len(set(slugs)) == len(slugs)
