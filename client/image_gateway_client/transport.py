"""Perform plans with blocking calls."""

import time
from contextlib import closing
from inspect import iscoroutine
from typing import Any, TypeVar, cast

import httpx

from image_gateway_client.connections import ResponseReader, connection_options, to_httpx
from image_gateway_client.deadlines import DeadlineBackend
from image_gateway_client.endpoint import Endpoint
from image_gateway_client.failures import is_failure, to_error
from image_gateway_client.steps import ApiResponse, Await, Pause, Plan, Send, Step

T = TypeVar("T")


class Transport:
    """Connections to one gateway; safe to use from many threads.

    The transport of httpx is used without its client, which would log each request, read the environment a second
    time and keep cookies.

    Raises:
        ValueError: The URL has an invalid host, or the certificates that the environment names cannot be read.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport = httpx.HTTPTransport(trust_env=False, **connection_options(endpoint))
        pool = cast("Any", self._transport)._pool  # noqa: SLF001  # httpx has no option for it
        self._backend = pool._network_backend = DeadlineBackend(pool._network_backend)  # noqa: SLF001

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def run(self, plan: Plan[T]) -> T:
        """Perform a plan and return its result.

        Raises:
            Exception: What the plan raises.
        """
        try:
            step = next(plan)
            while True:
                try:
                    result = self._perform(step)
                except Exception as error:  # noqa: BLE001  # the plan decides which ones it handles
                    step = plan.throw(error)
                else:
                    step = plan.send(result)
        except StopIteration as end:
            return cast("T", end.value)
        finally:
            plan.close()  # if the caller interrupts it

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Send):
            return self._send(step)
        if isinstance(step, Pause):
            return time.sleep(step.duration_s)
        if isinstance(step, Await):
            if iscoroutine(step.awaitable):
                step.awaitable.close()
            raise TypeError("the function is asynchronous. Use AsyncClient, or a function without async.")
        return step.function()

    def _send(self, step: Send) -> ApiResponse:
        body = step.request.body
        request = to_httpx(step, self._endpoint, None if body is None else body.chunks())
        try:
            with self._backend.limit(step.timeout_s), closing(self._transport.handle_request(request)) as response:
                reader = ResponseReader(response, self._endpoint)
                for chunk in response.iter_raw():
                    reader.add(chunk)
        except Exception as error:
            if not is_failure(error):
                raise
            raise to_error(error, self._endpoint) from error
        return reader.finish()
