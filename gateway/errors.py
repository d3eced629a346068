"""Every way in which a request can fail. Independent of HTTP and gRPC.

GatewayError
├── KeyMissingError            an API key is required and none was sent
├── KeyUnknownError            the API key is not one of the configured keys
├── KeysUnavailableError       the API keys cannot be read
├── RateLimitedError           the caller exceeds its limit of requests
├── LimitsUnavailableError     the caller's requests cannot be counted
├── BadRequestError            the request cannot be understood
├── BodyTimeoutError           the body arrives too slowly
├── BodyTooLargeError          more bytes than the limit
├── TooManyImagesError         more images in one request than the limit
├── ContentTypeError           a media type that cannot carry an image
├── ImageFormatError           not one of the accepted image formats
├── ImageTooLargeError         more pixels than the limit
├── ImageUnreadableError       an accepted format, but damaged
├── FetchError                 no image could be fetched from the URL
│   └── FetchRefusedError      the image URL points to a forbidden destination
├── ModelNotFoundError         no such model is served
├── VersionNotFoundError       the model is served, but not this version or label
├── VersionGoneError           the model server does not serve this model or version, or no longer does
├── NotReadyError              the default model cannot be used, or the gateway is shutting down
├── MetricsUnavailableError    the files of the metrics cannot be read
├── OverloadedError            more requests than can be answered in time
├── ModelUnavailableError      the model server is unreachable or still loading
│   └── ModelOverloadedError   the model server has no capacity left
├── NotExplainableError        the model cannot explain its predictions
├── ArchiveError               the ZIP archive of a job cannot be used
├── IdempotencyKeyReusedError  the idempotency key belongs to another request
├── JobNotFoundError           there is no such job, or it belongs to another caller
├── TooManyJobsError           the caller has as many unfinished jobs as it may have
├── JobsFullError              there is no space for another job
├── JobsUnavailableError       the jobs cannot be read or written
├── ModelFailedError           the model server rejected or failed the computation
├── ModelContractError         the model's card and its signature contradict each other
└── DeadlineExceededError      the time for the request is used up
"""

import errno
from typing import ClassVar

NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of the system that say that this process or machine has no files or memory left."""


class GatewayError(Exception):
    """A request that cannot be answered.

    Every subclass defines its own `slug`.

    Args:
        detail: What went wrong in this occurrence, what was expected and what to do; written for the caller.
        members: Facts about it that a program can act on, such as a limit.

    Attributes:
        slug: Stable name of this kind of failure: the last part of its problem type, and its outcome in the metrics.
        model_version: Name and version of the model that was used, if one was chosen before the failure.
    """

    slug: ClassVar[str]
    model_version: tuple[str, int] | None

    def __init__(self, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members
        self.model_version = None


class KeyMissingError(GatewayError):
    """An API key is required and none was sent."""

    slug = "key-missing"


class KeyUnknownError(GatewayError):
    """The API key is not one of the configured keys."""

    slug = "key-unknown"


class KeysUnavailableError(GatewayError):
    """The file of the API keys is damaged or cannot be read, and the key is not one of those that are known."""

    slug = "keys-unavailable"


class RateLimitedError(GatewayError):
    """The caller exceeds its limit of requests."""

    slug = "rate-limited"


class LimitsUnavailableError(GatewayError):
    """The storage of the rate limits is unreachable, and requests must not be answered uncounted."""

    slug = "limits-unavailable"


class BadRequestError(GatewayError):
    """The request carries no image, or its body, a field or an option is not as it should be."""

    slug = "bad-request"


class BodyTimeoutError(GatewayError):
    """The body did not arrive before the deadline of the request, or that of a job arrived too slowly on average."""

    slug = "body-timeout"


class BodyTooLargeError(GatewayError):
    """The body, or the image behind the URL, has more bytes than the limit."""

    slug = "body-too-large"


class TooManyImagesError(GatewayError):
    """The request carries more images than the limit."""

    slug = "too-many-images"


class ContentTypeError(GatewayError):
    """The body is of a media type that cannot carry an image, or it is compressed."""

    slug = "unsupported-media-type"
    accept_encoding: str | None = None
    """The content codings that are accepted, if that of the body was the reason."""


class ImageFormatError(GatewayError):
    """The bytes are not in one of the accepted image formats."""

    slug = "unsupported-image-format"


class ImageTooLargeError(GatewayError):
    """The image has more pixels than the limit."""

    slug = "image-too-large"


class ImageUnreadableError(GatewayError):
    """The image is in an accepted format but damaged."""

    slug = "unreadable-image"


class FetchError(GatewayError):
    """No image could be fetched from the URL."""

    slug = "fetch-failed"


class FetchRefusedError(FetchError):
    """The image URL points to a destination that the gateway does not connect to."""

    slug = "fetch-refused"


class ModelNotFoundError(GatewayError):
    """No model of that name is served."""

    slug = "model-not-found"


class VersionNotFoundError(GatewayError):
    """The model is served, but not in that version or under that label."""

    slug = "version-not-found"


class VersionGoneError(GatewayError):
    """The model server no longer serves this version of the model, or does not know the label."""

    slug = "version-gone"


class NotReadyError(GatewayError):
    """The default model cannot be used, or the gateway is shutting down; only `/readyz` answers so."""

    slug = "not-ready"


class MetricsUnavailableError(GatewayError):
    """The files of the metrics cannot be read."""

    slug = "metrics-unavailable"


class OverloadedError(GatewayError):
    """More requests arrived than can be answered in time; work on this one was not started."""

    slug = "overloaded"


class ModelUnavailableError(GatewayError):
    """The model server is unreachable, or the model is still loading."""

    slug = "model-unavailable"


class ModelOverloadedError(ModelUnavailableError):
    """The model server has no capacity left for now."""

    slug = "model-overloaded"


class NotExplainableError(GatewayError):
    """The model has no signature that explains its predictions."""

    slug = "model-not-explainable"


class ArchiveError(GatewayError):
    """The ZIP archive of a job is damaged, encrypted, refers outside of itself, or unpacks to more than the limit."""

    slug = "unusable-archive"


class IdempotencyKeyReusedError(GatewayError):
    """The idempotency key was sent before with another request."""

    slug = "idempotency-key-reused"


class JobNotFoundError(GatewayError):
    """There is no job with this id: it never existed, it has expired, or it was created with another API key."""

    slug = "job-not-found"


class TooManyJobsError(GatewayError):
    """The caller has as many unfinished jobs as it may have."""

    slug = "too-many-jobs"


class JobsFullError(GatewayError):
    """The space for jobs is used up. Nothing of the request was kept."""

    slug = "jobs-full"


class JobsUnavailableError(GatewayError):
    """The storage of the jobs cannot be read or written at the moment."""

    slug = "jobs-unavailable"


class ModelFailedError(GatewayError):
    """The model server rejected or failed the computation."""

    slug = "model-failed"


class ModelContractError(GatewayError):
    """The model's card and its signature contradict each other, or the model is not an image classifier."""

    slug = "model-unusable"


class DeadlineExceededError(GatewayError):
    """The time allowed for the request, or for a part of it, is used up."""

    slug = "deadline-exceeded"
