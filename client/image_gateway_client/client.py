"""The client for programs without asyncio: classify one image, a batch, or any number of images."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Self, Unpack

from image_gateway_client import predictions
from image_gateway_client.answers import Answer, Batch, Health, Model, Outcome
from image_gateway_client.base_client import BATCH_BYTES, BaseClient, check_batches
from image_gateway_client.batches import classify_batch, classify_in_order, split_into_batches
from image_gateway_client.images import Image, check_several
from image_gateway_client.jobs import plans as jobs
from image_gateway_client.jobs.job import Job, JobResult
from image_gateway_client.options import JobOptions, Options, check_options


class Client(BaseClient):
    """Client of one gateway; safe to use from many threads. Its arguments are those of `BaseClient`."""

    def _open(self) -> None:
        from image_gateway_client.transport import Transport  # noqa: PLC0415  # see BaseClient._open

        self._transport = Transport(self._endpoint)

    def __enter__(self) -> Self:
        """Return this client."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def classify(self, image: Image, **options: Unpack[Options]) -> Answer:
        """Classify one image.

        Args:
            image: A path, an http(s) URL for the gateway to fetch, a file open for reading bytes, the bytes of an
                encoded image, an array uint8[H, W] gray or uint8[H, W, 1 to 4], or a picture of Pillow; see `Image`.
            options: See `Options`.

        Raises:
            ImageGatewayError: The request failed; the subclass says how.
            OSError: The file cannot be read, is empty or too large.
            TypeError: `image` is not an image, or an option is unknown.
            ValueError: `image` is an array of another shape or type, or the options contradict each other.
        """
        check_options("classify()", options)
        return self._transport.run(
            predictions.classify(self._endpoint, image, options, max_bytes=self._max_image_bytes)
        )

    def classify_batch(self, images: Sequence[Image], **options: Unpack[Options]) -> Batch:
        """Classify several images in one request. The gateway limits the size of a request.

        Args:
            images: The images, each as for `classify`.
            options: See `Options`.

        Returns:
            An answer or a problem for each image, in order: a list that also counts them.

        Raises:
            ImageGatewayError: The whole request failed; the subclass says how.
            OSError: A file cannot be read, is empty or too large.
            TypeError: `images` is a single image, one of them is not an image, or an option is unknown.
            ValueError: An array has another shape or type, or the options contradict each other.
        """
        check_options("classify_batch()", options)
        return self._transport.run(
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
    ) -> Iterator[Outcome]:
        """Classify any number of images, in batches; several batches are sent at once.

        Args:
            images: The images, each as for `classify`; consumed as needed.
            batch_size: Maximum number of images in a request.
            batch_bytes: Maximum size of the files in a request; a larger file is sent in a request of its own.
            options: See `Options`.

        Yields:
            An answer or a problem for each image, in order. A file that cannot be read is a problem too.

        Raises:
            ImageGatewayError: The gateway cannot classify any image now. The outcomes so far have been yielded.
            TypeError: `images` is a single image, or an option is unknown.
            ValueError: `batch_size` is below 1, or the options contradict each other.
        """
        check_batches(images, batch_size, options)
        predict = partial(predictions.predict, self._endpoint, options)

        def classify(batch: Sequence[Image]) -> list[Outcome]:
            return self._transport.run(classify_batch(batch, predict, max_bytes=self._max_image_bytes))

        batches = split_into_batches(images, batch_size, batch_bytes)
        return classify_in_order(batches, classify, self._endpoint.limits.connections)

    def submit_job(
        self,
        images: str | os.PathLike[str] | Iterable[Image],
        *,
        idempotency_key: str | None = None,
        timeout_s: float = jobs.SUBMIT_TIMEOUT_S,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Submit images that the gateway classifies in the background.

        Args:
            images: Images as for `classify`, either all of them URLs or none; or the path of a folder or ZIP file.
            idempotency_key: Name of this job, chosen by the caller: submitting the same images with the same key again
                returns the same job.
            timeout_s: Maximum time for sending the images, in place of that of the client.
            options: See `JobOptions`.

        Raises:
            ImageGatewayError: The request failed; the subclass says how.
            OSError: A file cannot be read, is empty or too large.
            TypeError: One of them is not an image, or an option is unknown.
            ValueError: There are no images, URLs and files are mixed, or the options contradict each other.
        """
        jobs.check_job(options, idempotency_key)
        return self._transport.run(
            jobs.submit(
                self._endpoint,
                images,
                options,
                idempotency_key=idempotency_key,
                timeout_s=timeout_s,
                max_bytes=self._max_image_bytes,
            )
        )

    def job(self, job: Job | str) -> Job:
        """Return the state of a job.

        Args:
            job: The job, or its identifier; for the other methods as well.

        Raises:
            ImageGatewayError: The request failed, or there is no such job; the subclass says how.
        """
        return self._transport.run(jobs.get(self._endpoint, job))

    def wait_for_job(
        self,
        job: Job | str,
        *,
        progress: Callable[[Job], object] | None = None,
        timeout_s: float = jobs.WAIT_TIMEOUT_S,
    ) -> Job:
        """Wait until a job is done, failed or cancelled, and return it.

        While the gateway does not respond, for example because it restarts, a warning is logged, and the requests are
        repeated until `timeout_s`.

        Args:
            job: The job.
            progress: Called with the job each time the gateway was asked.
            timeout_s: Maximum time to wait.

        Raises:
            JobNotFinishedError: It has not ended in time.
            ImageGatewayError: The gateway is still away then, another request failed, or there is no such job; the
                subclass says how.
        """
        return self._transport.run(jobs.wait(self._endpoint, job, progress, timeout_s))

    def job_results(self, job: Job | str, *, offset: int = 0) -> Iterator[JobResult]:
        """Yield the results that a job has now, in the order of its images; requested page by page.

        Args:
            job: The job.
            offset: Position of the first result.

        Raises:
            ImageGatewayError: A request failed, or there is no such job; the subclass says how.
        """
        state = self.job(job)
        next_offset: int | None = offset
        while next_offset is not None:
            page = self._transport.run(jobs.get_page(self._endpoint, state, next_offset))
            yield from page.results
            next_offset = page.next_offset

    def cancel_job(self, job: Job | str) -> Job:
        """Cancel a job and return it. Its results so far stay; a job that has ended stays as it is.

        Raises:
            ImageGatewayError: The request failed, or there is no such job; the subclass says how.
        """
        return self._transport.run(jobs.cancel(self._endpoint, job))

    def models(self) -> list[Model]:
        """List the models that the gateway offers.

        Raises:
            ImageGatewayError: The request failed; the subclass says how.
        """
        return self._transport.run(predictions.list_models(self._endpoint))

    def model(self, name: str) -> Model:
        """Return the details of a model: its versions and its card.

        Raises:
            ImageGatewayError: The request failed, or there is no such model; the subclass says how.
        """
        return self._transport.run(predictions.get_model(self._endpoint, name))

    def version(self) -> str:
        """Return the version of the gateway.

        Raises:
            ImageGatewayError: The request failed; the subclass says how.
        """
        return self._transport.run(predictions.get_version(self._endpoint))

    def health(self) -> Health:
        """Check once, without retries, whether the gateway is ready: whether its default model can be used.

        Raises:
            NoAnswerError: There is no response, or not in time.
            UnexpectedAnswerError: The response is not one of a gateway.
        """
        return self._transport.run(predictions.get_health(self._endpoint))

    def ready(self) -> bool:
        """Return whether the gateway responds and its default model can be used.

        Raises:
            UnexpectedAnswerError: The response is not one of a gateway.
        """
        return self._transport.run(predictions.get_ready(self._endpoint))
