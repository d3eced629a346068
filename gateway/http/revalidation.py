"""Revalidation: a client that holds the current body gets 304 without it (RFC 9110 section 13.1.2)."""

from http import HTTPStatus

from flask import Response, request

from gateway.http.headers import CACHE_CONTROL


def let_revalidate(response: Response, *, is_private: bool) -> Response:
    """Let clients keep a response and ask with its ETag whether it is current; if so, return 304 without the body.

    Args:
        response: A response whose body depends on nothing but what it describes.
        is_private: Whether shared caches must not keep it.
    """
    response.add_etag()
    response.headers[CACHE_CONTROL] = "private, no-cache" if is_private else "no-cache"
    etag, _ = response.get_etag()
    if etag is not None and request.if_none_match.contains_weak(etag):
        response.close()
        response.response, response.status_code = (), HTTPStatus.NOT_MODIFIED
    return response
