"""The client for programs with asyncio; its methods are those of `Client`."""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from typing import Self, Unpack

from image_gateway_client import predictions
from image_gateway_client.answers import Answer, Batch, Health, Model, Outcome
from image_gateway_client.base_client import BATCH_BYTES, BaseClient, check_batches
from image_gateway_client.batches import classify_batch, classify_in_order_async, split_into_batches
from image_gateway_client.images import Image, check_several
from image_gateway_client.jobs import plans as jobs
from image_gateway_client.jobs.job import Job, JobResult
from image_gateway_client.options import JobOptions, Options, check_options


class AsyncClient(BaseClient):
    """Client of one gateway for programs with asyncio. Its arguments are those of `BaseClient`."""

    def _open(self) -> None:
        from image_gateway_client.async_transport import AsyncTransport  # noqa: PLC0415  # see BaseClient._open

        self._transport = AsyncTransport(self._endpoint)

    async def __aenter__(self) -> Self:
        """Return this client."""
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def classify(self, image: Image, **options: Unpack[Options]) -> Answer:
        """Classify one image; see `Client.classify`."""
        check_options("classify()", options)
        return await self._transport.run(
            predictions.classify(self._endpoint, image, options, max_bytes=self._max_image_bytes)
        )

    async def classify_batch(self, images: Sequence[Image], **options: Unpack[Options]) -> Batch:
        """Classify several images in one request; see `Client.classify_batch`."""
        check_options("classify_batch()", options)
        return await self._transport.run(
            predictions.classify_several(
                self._endpoint, check_several(images), options, max_bytes=self._max_image_bytes
            )
        )

    def classify_many(
        self,
        images: Iterable[Image],
        *,
        batch_size: int = 16,
        batch_bytes: int = BATCH_BYTES,
        **options: Unpack[Options],
    ) -> AsyncIterator[Outcome]:
        """Classify any number of images, in batches; see `Client.classify_many`."""
        check_batches(images, batch_size, options)
        predict = partial(predictions.predict, self._endpoint, options)

        async def classify(batch: Sequence[Image]) -> list[Outcome]:
            return await self._transport.run(classify_batch(batch, predict, max_bytes=self._max_image_bytes))

        batches = split_into_batches(images, batch_size, batch_bytes)
        return classify_in_order_async(batches, classify, self._endpoint.limits.connections)

    async def submit_job(
        self,
        images: str | os.PathLike[str] | Iterable[Image],
        *,
        idempotency_key: str | None = None,
        timeout_s: float = jobs.SUBMIT_TIMEOUT_S,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Submit images that the gateway classifies in the background; see `Client.submit_job`."""
        jobs.check_job(options, idempotency_key)
        return await self._transport.run(
            jobs.submit(
                self._endpoint,
                images,
                options,
                idempotency_key=idempotency_key,
                timeout_s=timeout_s,
                max_bytes=self._max_image_bytes,
            )
        )

    async def job(self, job: Job | str) -> Job:
        """Return the state of a job; see `Client.job`."""
        return await self._transport.run(jobs.get(self._endpoint, job))

    async def wait_for_job(
        self,
        job: Job | str,
        *,
        progress: Callable[[Job], object] | None = None,
        timeout_s: float = jobs.WAIT_TIMEOUT_S,
    ) -> Job:
        """Wait until a job is done, failed or cancelled; see `Client.wait_for_job`. `progress` may be asynchronous."""
        return await self._transport.run(jobs.wait(self._endpoint, job, progress, timeout_s))

    async def job_results(self, job: Job | str, *, offset: int = 0) -> AsyncIterator[JobResult]:
        """Yield the results that a job has now; see `Client.job_results`."""
        state = await self.job(job)
        next_offset: int | None = offset
        while next_offset is not None:
            page = await self._transport.run(jobs.get_page(self._endpoint, state, next_offset))
            for result in page.results:
                yield result
            next_offset = page.next_offset

    async def cancel_job(self, job: Job | str) -> Job:
        """Cancel a job and return it; see `Client.cancel_job`."""
        return await self._transport.run(jobs.cancel(self._endpoint, job))

    async def models(self) -> list[Model]:
        """List the models that the gateway offers; see `Client.models`."""
        return await self._transport.run(predictions.list_models(self._endpoint))

    async def model(self, name: str) -> Model:
        """Return the details of a model; see `Client.model`."""
        return await self._transport.run(predictions.get_model(self._endpoint, name))

    async def version(self) -> str:
        """Return the version of the gateway; see `Client.version`."""
        return await self._transport.run(predictions.get_version(self._endpoint))

    async def health(self) -> Health:
        """Check once whether the gateway is ready; see `Client.health`."""
        return await self._transport.run(predictions.get_health(self._endpoint))

    async def ready(self) -> bool:
        """Return whether the gateway responds and is ready; see `Client.ready`."""
        return await self._transport.run(predictions.get_ready(self._endpoint))
