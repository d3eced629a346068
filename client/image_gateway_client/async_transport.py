"""Perform plans with asyncio."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import httpx

from image_gateway_client.connections import ResponseReader, connection_options, to_httpx
from image_gateway_client.endpoint import Endpoint
from image_gateway_client.failures import is_failure, to_error
from image_gateway_client.steps import ApiResponse, Await, Body, Pause, Plan, Send, Step

T = TypeVar("T")


class AsyncTransport:
    """Connections to one gateway, of their own for each event loop; see `Transport`.

    Raises:
        ValueError: The URL has an invalid host, or the certificates that the environment names cannot be read.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._options = connection_options(endpoint)
        # Programs without a loop of their own call asyncio.run() several times.
        self._transports: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncHTTPTransport] = WeakKeyDictionary()

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        if transport := self._transports.pop(asyncio.get_running_loop(), None):
            await transport.aclose()

    def _transport(self) -> httpx.AsyncHTTPTransport:
        """Return the connections of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._transports:
            self._transports[loop] = httpx.AsyncHTTPTransport(trust_env=False, **self._options)
        return self._transports[loop]

    async def run(self, plan: Plan[T]) -> T:
        """Perform a plan and return its result.

        Raises:
            Exception: What the plan raises.
        """
        try:
            step = next(plan)
            while True:
                try:
                    result = await self._perform(step)
                except Exception as error:  # noqa: BLE001  # the plan decides which ones it handles
                    step = plan.throw(error)
                else:
                    step = plan.send(result)
        except StopIteration as end:
            return cast("T", end.value)
        finally:
            plan.close()  # if the task is cancelled

    async def _perform(self, step: Step) -> Any:
        if isinstance(step, Send):
            return await self._send(step)
        if isinstance(step, Pause):
            return await asyncio.sleep(step.duration_s)
        if isinstance(step, Await):
            return await step.awaitable
        return await asyncio.to_thread(step.function)

    async def _send(self, step: Send) -> ApiResponse:
        body = step.request.body
        request = to_httpx(step, self._endpoint, None if body is None else _send_chunks(body))
        try:
            async with asyncio.timeout(step.timeout_s):
                response = await self._transport().handle_async_request(request)
                async with aclosing(response):
                    reader = ResponseReader(response, self._endpoint)
                    async for chunk in response.aiter_raw():
                        reader.add(chunk)
        except Exception as error:
            if not is_failure(error):
                raise
            raise to_error(error, self._endpoint) from error
        return reader.finish()


async def _send_chunks(body: Body) -> AsyncIterator[bytes]:
    chunks = body.chunks()
    if not body.reads_file:
        for chunk in chunks:
            yield chunk
        return
    while (part := await asyncio.to_thread(next, chunks, None)) is not None:
        yield part
