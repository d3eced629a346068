"""Every way a request can fail, named once. Knows neither HTTP nor gRPC.

GatewayError
├── KeyMissingError            no API key came, where one is wanted
├── KeyUnknownError            the API key is none of those set
├── RateLimitedError           the caller asks more often than it may
├── LimitsUnavailableError     how often the caller asked cannot be counted
├── BadRequestError            the request cannot be understood
├── BodyTooLargeError          more bytes than the limit
├── TooManyImagesError         more images in one request than the limit
├── ContentTypeError           a body of a kind that carries no image
├── ImageFormatError           not one of the accepted image formats
├── ImageTooLargeError         more pixels than the limit
├── ImageUnreadableError       an accepted format, but damaged
├── FetchError                 the image URL did not give an image
│   └── FetchRefusedError      the image URL points where this service does not go
├── ModelNotFoundError         no such model is served
├── VersionNotFoundError       the model is served, but no such version or label of it
├── VersionGoneError           the model server does not serve this model or version, or no longer
├── NotReadyError              the default model cannot be used, or the gateway is about to stop
├── OverloadedError            more requests than can be answered in time
├── ModelUnavailableError      the model server is away or still loading
│   └── ModelOverloadedError   the model server has no capacity left
├── NotExplainableError        the model cannot show where it looks
├── ModelFailedError           the model server refused or failed the computation
├── ModelContractError         the model's card and its signature contradict each other
└── DeadlineExceededError      the time for the request is used up
"""


class GatewayError(Exception):
    """A request that cannot be answered.

    Args:
        detail: What went wrong in this occurrence, what was expected and what to do, for the caller.
        members: Facts about it that a program can act on, such as a limit.
    """

    def __init__(self, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members


class KeyMissingError(GatewayError):
    """Nothing is answered here without an API key, and none came."""


class KeyUnknownError(GatewayError):
    """The API key is none of those that are set."""


class RateLimitedError(GatewayError):
    """The caller asks more often than it may; `retry_after_s` is a member."""


class LimitsUnavailableError(GatewayError):
    """Where requests are counted is away, and none is to be answered uncounted."""


class BadRequestError(GatewayError):
    """The request cannot be understood."""


class BodyTooLargeError(GatewayError):
    """The body, or the picture behind the URL, has more bytes than the limit."""


class TooManyImagesError(GatewayError):
    """The request carries more images than the limit."""


class ContentTypeError(GatewayError):
    """The body is of a media type that carries no image."""


class ImageFormatError(GatewayError):
    """The bytes are not in one of the accepted image formats."""


class ImageTooLargeError(GatewayError):
    """The image has more pixels than the limit."""


class ImageUnreadableError(GatewayError):
    """The image is of an accepted format but damaged."""


class FetchError(GatewayError):
    """The image URL did not give an image."""


class FetchRefusedError(FetchError):
    """The image URL points to an address that this service does not connect to."""


class ModelNotFoundError(GatewayError):
    """No model of that name is served."""


class VersionNotFoundError(GatewayError):
    """The model is served, but not in that version, or under that label."""


class VersionGoneError(GatewayError):
    """The model server does not serve this version of the model any more, or knows no such label."""


class NotReadyError(GatewayError):
    """The default model cannot be used, or this gateway is about to stop; said to those who ask whether it is ready."""


class OverloadedError(GatewayError):
    """More requests came than can be answered in time; nothing was done about this one."""


class ModelUnavailableError(GatewayError):
    """The model server is away, or the model is still loading."""


class ModelOverloadedError(ModelUnavailableError):
    """The model server has no capacity left for now."""


class NotExplainableError(GatewayError):
    """The model has no signature that shows where it looks."""


class ModelFailedError(GatewayError):
    """The model server refused or failed the computation."""


class ModelContractError(GatewayError):
    """The model's card and its signature contradict each other, or it is no image classifier."""


class DeadlineExceededError(GatewayError):
    """The time allowed for the request, or for a part of it, is used up."""
