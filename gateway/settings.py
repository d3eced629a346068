"""The gateway's settings. No other module reads them from the environment."""

import difflib
import importlib
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from gateway import __version__
from gateway.capacity import default_budget, smallest_budget
from gateway.host_patterns import is_host_pattern

PREFIX = "GATEWAY_"

# Variables with this prefix that are not settings: Kubernetes sets GATEWAY_SERVICE_HOST, GATEWAY_PORT_8000_TCP and
# others for a Service named gateway, and make exports its own GATEWAY_PORT.
FOREIGN_VARIABLE = re.compile(r"GATEWAY_(PORT|SERVICE)(_|$)")


# As a browser writes it (RFC 6454 section 6.2); one with capitals would never match.
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#*\sA-Z]+")


LONGEST_URL = 65_536
"""Upper limit of `fetch_max_url_length`."""


USER_AGENT = re.compile(r"[ -~]{1,256}")
"""Printable ASCII, which a header can carry everywhere (RFC 9110 section 5.5)."""


PROXY = re.compile(r"https?://[^/?#\s]+/?")


REDIS_DATABASE = re.compile(r"(?:/[0-9]*)?")


ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")


# gRPC's own names (its doc/naming.md), and HOST:PORT. Without a port, gRPC would use that of HTTPS.
GRPC_TARGET = re.compile(
    r"(?:unix|unix-abstract):.+|(?:dns|ipv4|ipv6|vsock|xds):\S+|(?:[^\s:/?#@\[\]]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\]):[0-9]{1,5}"
)
TARGET_PORT = re.compile(r"[^:]:([0-9]+)(?=,|$)")
"""A port, at the end or before the next address. What follows two colons is a part of an IPv6 address."""
GRPC_PORT, REST_PORT = 8500, 8501
"""Of TensorFlow Serving, by default."""
HIGHEST_PORT = 65535
SCHEMES = ("http", "https", "grpc", "grpcs", "dns", "ipv4", "ipv6")
"""What stands before the colon in a URL or a name of gRPC, in which the host follows."""
OTHER_NAMES = ("unix:", "unix-abstract:", "vsock:", "xds:")
"""Names of gRPC without a port of TCP."""


EXPECTED = {
    "bool_parsing": "expected true or false",
    "float_parsing": "expected a number",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "int_parsing": "expected a whole number",
    "less_than_equal": "expected at most {le}",
    "too_short": "expected at least one value",
}
"""What a setting accepts, by the type of pydantic's error, with the limits in its context."""


class SettingsError(ValueError):
    """A setting has an invalid value, or a variable does not belong to any setting."""


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]


def _cpu_count() -> int:
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)


class Settings(BaseModel):
    """The gateway's settings; each is read from the environment variable `GATEWAY_` + its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    bind: str = Field(
        "127.0.0.1:8000",
        description="Address and port, or `unix:` path, to listen on. `*:8000` is every address, over IPv4 and "
        "IPv6 if the machine has both; `0.0.0.0:8000` is IPv4 only.",
    )
    workers: int = Field(
        default_factory=_cpu_count,
        ge=1,
        le=64,
        description="Worker processes. Default: the number of CPUs, at most 8.",
    )
    threads: int = Field(
        8,
        ge=1,
        le=256,
        description="Images that a worker decodes and classifies at the same time, at most half of them from batches.",
    )
    max_waiting: int = Field(
        128,
        ge=0,
        le=1024,
        description="Additional requests that a worker accepts: those that are arriving, fetching images, or "
        "waiting. At most half "
        "of all places go to requests that fetch images, and at most three quarters to one client. Other requests get "
        "503 immediately.",
    )
    max_wait_s: float = Field(
        3.0, ge=0, description="How long a request may wait for its turn or for memory before it gets 503."
    )
    worker_timeout_s: int = Field(
        30,
        ge=1,
        description="A worker that does not respond for this long is replaced. At least the request deadline.",
    )
    start_wait_s: float = Field(
        0.0,
        ge=0,
        le=600,
        description="How long a starting worker waits for the default model. Meanwhile, requests queue up instead of "
        "getting 503. For platforms that send a request as soon as the port is open.",
    )
    drain_delay_s: float = Field(
        0.0,
        ge=0,
        le=600,
        description="How long a gateway keeps answering requests after SIGTERM, while `/readyz` already answers 503. "
        "Set it to the time in which your load balancer notices.",
    )
    graceful_timeout_s: int = Field(20, ge=1, description="How long a stopping gateway waits for requests in progress.")

    tfs_target: str = Field(
        "127.0.0.1:8500",
        description="The model server's gRPC address, as `host:port`, `[IPv6 address]:port` or a gRPC name such as "
        "`unix:/run/tfs.sock`; not a URL, and not the REST port. If a name has several addresses, they are used in "
        "turn.",
    )
    models_config: Path = Field(
        Path("serving_models/models.config"),
        description="The model server's `models.config`, which lists the models to offer. Read again when it changes.",
    )
    models: Names = Field((), description="Names of the models to offer, comma-separated, instead of `models.config`.")
    default_model: str | None = Field(
        None, description="The model of `/api/v1/predict`. Default: the first model offered."
    )
    cards_dir: Path = Field(
        Path("serving_models"),
        description="Directory with `NAME/card.json` for models without their own card, and `NAME/VERSION/` with "
        "the golden images that `/readyz` classifies, in addition to the check that every version passes before it "
        "answers. The page at `/` offers them as samples.",
    )
    models_poll_s: float = Field(
        1.0, gt=0, le=60, description="Interval at which the gateway checks which versions the model server serves."
    )

    request_deadline_s: float = Field(
        10.0,
        gt=0,
        description="Time for one request, including fetching, decoding and prediction. `X-Request-Timeout` can "
        "shorten it, but not extend it.",
    )
    model_deadline_s: float = Field(
        5.0,
        gt=0,
        description="Time for one call to the model server. A call that hangs or finds it unavailable is retried if "
        "the request has time left. Retries are limited to one image for every ten that are answered, plus one a "
        "second. A call that will not be retried may take all the time that the request has left.",
    )
    health_deadline_s: float = Field(1.0, gt=0, description="Time for the model server to answer a readiness check.")

    max_body_bytes: int = Field(10 * 1024 * 1024, ge=1024, description="Largest request body.")
    memory_budget_bytes: int = Field(
        default_factory=lambda data: default_budget(data["workers"]),
        ge=1024,
        description="Memory of a worker for the bodies, fetched images, decoded pixels and tensors of all its requests "
        "together. Requests wait for it, and get 503 if they wait too long. At least 8 times `GATEWAY_MAX_BODY_BYTES` "
        "plus 1/3 MiB for each request that a worker accepts (`GATEWAY_THREADS` + `GATEWAY_MAX_WAITING`), that is "
        "126 MiB with the defaults. Default: half of the container's or machine's memory, divided by the workers, from "
        "128 MiB to 3 GiB.",
    )
    max_pixels: int = Field(
        50_000_000,
        ge=1,
        description="Largest image, as width times height. It is read from the header before the image is decoded.",
    )
    inline_max_pixels: int = Field(
        16_000_000,
        ge=0,
        description="Largest image, as width times height, that a worker decodes itself, if it is an ordinary JPEG or "
        "lossy WebP, or a small PNG or lossless WebP. All others are decoded in separate processes with limits on "
        "memory and processor time.",
    )
    decoder_processes: int = Field(
        2,
        ge=1,
        le=64,
        description="Decoder processes of each worker, for images that it does not decode itself. They start when they "
        "are first needed. If there are several, one client never uses all of them. The client with the fewest images "
        "is next. Raise it if clients send many large PNG, AVIF or TIFF files.",
    )
    decode_deadline_s: float = Field(
        5.0,
        gt=0,
        description="Time for decoding one image in a decoder process, including the wait for a free process.",
    )
    max_json_depth: int = Field(
        16, ge=3, le=256, description="Maximum nesting of lists and objects in a JSON body. A batch needs 3."
    )
    max_json_values: int = Field(10_000, ge=16, description="Maximum number of values and names in a JSON body.")
    max_images: int = Field(64, ge=1, description="Maximum number of images in one request.")
    max_batch_size: int = Field(
        32,
        ge=1,
        description="Maximum number of images in one call to the model server. If the model server accepts fewer "
        "(its own `max_batch_size`), the gateway notices at the first refusal and splits larger calls.",
    )
    calls_in_flight: int = Field(
        0,
        ge=0,
        le=256,
        description="Calls that a worker has in flight for one version of a model. Images of requests that arrive "
        "meanwhile are sent together in the next call. 0: no limit and a separate call for each request, which suits a "
        "model server that batches.",
    )
    decode_threads: int = Field(
        default_factory=_cpu_count,
        ge=1,
        le=64,
        description="Images of batches that a worker decodes at the same time. Default: the number of CPUs, at most 8.",
    )
    default_top_k: int = Field(5, ge=1, description="Number of classes in a response if the request has no `top_k`.")

    fetch_enabled: bool = Field(default=True, description="Whether requests may contain image URLs.")
    fetch_deadline_s: float = Field(5.0, gt=0, description="Time for fetching one image URL, including redirects.")
    fetch_max_bytes: int = Field(10 * 1024 * 1024, ge=1024, description="Largest image that is fetched from a URL.")
    fetch_max_url_length: int = Field(
        8192,
        ge=256,
        le=LONGEST_URL,
        description="Longest image URL in characters, redirects included. Presigned URLs have thousands.",
    )
    fetch_user_agent: str = Field(
        f"image-gateway/{__version__}",
        description="Header `User-Agent` of fetches. Some hosts, such as Wikimedia, refuse agents without contact "
        "details. Add yours, as in `image-gateway/1.0 (https://example.com; ops@example.com)`.",
    )
    fetch_max_redirects: int = Field(3, ge=0, le=10, description="Maximum number of redirects for one image URL.")
    fetch_threads: int = Field(16, ge=1, le=256, description="Images that a worker fetches at the same time.")
    fetch_threads_per_client: int = Field(
        6,
        ge=1,
        le=256,
        description="The same, for the requests of one client: a key or, without keys, an address. A client also gets "
        "no more threads than it leaves free, so that clients whose servers are slow do not stop the others.",
    )
    fetch_connections_per_host: int = Field(
        12,
        ge=1,
        le=256,
        description="Connections that a worker opens to one host at the same time. Hosts are distinguished by address, "
        "or by name with a proxy. A client gets no more of them than it leaves free: the first gets half.",
    )
    fetch_lookup_s: float = Field(
        2.0,
        gt=0,
        description="Time for resolving the name of a host. After that, the lookup is ended, even if the name server "
        "never answers.",
    )
    fetch_max_wait_s: float = Field(
        4.0,
        ge=0,
        description="How long an image URL may wait until its fetch begins, and then for a connection to its host. "
        "After that, the request gets an `overloaded` error.",
    )
    fetch_schemes: Annotated[tuple[Literal["http", "https"], ...], BeforeValidator(_split_commas)] = Field(
        ("http", "https"), min_length=1, description="Allowed schemes of image URLs."
    )
    fetch_ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], BeforeValidator(_split_commas)] = Field(
        (80, 443), min_length=1, description="Allowed ports of public hosts."
    )
    fetch_allowed_hosts: Names = Field(
        (),
        description="Hosts, as `host` or `host:port`, that are allowed even with a private address, on every port or "
        "on that one. All other hosts must have public addresses.",
    )
    fetch_public_hosts: Names = Field(
        (),
        description="If set, the only public hosts that images are fetched from; `*.example.com` stands for all names "
        "below `example.com`. Default: every public host.",
    )
    fetch_denied_hosts: Names = Field(
        (),
        description="Hosts, such as `*.example.com`, and addresses or networks, such as `203.0.113.0/24`, that images "
        "are never fetched from, even if another setting allows it.",
    )
    fetch_ca_bundle: Path | None = Field(
        None,
        description="PEM file with the certificate authorities for hosts in `GATEWAY_FETCH_ALLOWED_HOSTS`. All other "
        "hosts, and these by default, are verified with the public authorities.",
    )
    fetch_proxy: str | None = Field(
        None,
        description="URL of a proxy for fetching. It resolves host names, so it must refuse private addresses itself. "
        "Proxies set in the environment are not used.",
    )

    preview_max_side: int = Field(
        640,
        ge=64,
        le=2048,
        description="Longer side, in pixels, of the preview that the page at `/` shows of an image URL.",
    )
    samples_max_images: int = Field(
        12,
        ge=0,
        le=100,
        description="Maximum number of golden images that the page at `/` offers as samples of a model; 0 to show "
        "none of them to anyone. Files of more than 1 MiB are left out, because the page loads all samples.",
    )

    cache: Literal["off", "memory", "redis"] = Field(
        "off",
        description="Where predictions are cached for images that are sent again: nowhere, in the memory of each "
        "worker, or in Redis for all workers.",
    )
    cache_max_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024,
        description="Maximum memory for the cached predictions of a worker. Redis is limited by its own `maxmemory`.",
    )
    cache_ttl_s: float = Field(3600.0, gt=0, description="How long a prediction stays in the cache.")
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0", description="URL of the Redis that the cache and the rate limits can use."
    )
    redis_timeout_s: float = Field(0.25, gt=0, description="Time for Redis to answer.")

    jobs: Literal["off", "sqlite", "redis"] = Field(
        "off",
        description="Whether the gateway accepts jobs ([jobs](../guides/jobs.md)), and where they are stored: in "
        "SQLite, for gateways and workers on one machine, or in Redis for any number of machines. Needs the extra "
        "`jobs`.",
    )
    jobs_dir: Path = Field(
        Path(".jobs"),
        description="Directory of the jobs in SQLite, shared by gateway and workers. Uploads are written to it while "
        "they arrive, also with Redis.",
    )
    jobs_max_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1024,
        description="Largest upload of a job: a ZIP archive or a form. The unpacked archive has the same limit, "
        "and each image in it that of `GATEWAY_MAX_BODY_BYTES`.",
    )
    jobs_max_images: int = Field(10_000, ge=1, le=1_000_000, description="Maximum number of images in one job.")
    jobs_max_stored_bytes: int = Field(
        4 * 1024**3,
        ge=1024,
        description="Maximum size of all jobs together, images and results. One caller may have half of it. Above "
        "it, new jobs get 507. Results wait for up to `GATEWAY_JOBS_RETRY_S`; then their job fails.",
    )
    jobs_max_unfinished: int = Field(
        10, ge=1, description="Maximum number of unfinished jobs of one caller: a key or, without keys, an address."
    )
    jobs_uploads: int = Field(
        4,
        ge=1,
        le=64,
        description="Jobs that a worker of the gateway receives at the same time, at most half of them from one "
        "caller. Others wait for a moment, and then get 503.",
    )
    jobs_upload_deadline_s: float = Field(
        3600.0,
        gt=0,
        description="Time for receiving a job. The largest upload takes 36 minutes over a connection of 1 Mbit/s.",
    )
    jobs_upload_min_rate: int = Field(
        16_000,
        ge=1,
        description="Bytes per second that must arrive of an upload on average, so that slow senders do not hold the "
        "places of others. An upload that is slower for ten seconds is refused.",
    )
    jobs_retention_s: float = Field(
        86_400.0,
        gt=0,
        description="How long a finished job and its results are kept. Images are deleted as soon as they are "
        "answered.",
    )
    jobs_threads: int = Field(
        2,
        ge=1,
        le=64,
        description="Chunks of jobs that a worker of jobs computes at the same time, at most half of them with URLs.",
    )
    jobs_nice: int = Field(
        10,
        ge=0,
        le=19,
        description="Niceness of the workers of jobs: the higher it is, the more processor time they leave to others.",
    )
    jobs_chunk_images: int = Field(
        16,
        ge=1,
        le=1024,
        description="Images of a job that are computed together, by one thread of a worker. Jobs take turns after each "
        "chunk.",
    )
    jobs_chunk_deadline_s: float = Field(
        60.0, gt=0, description="Time for one chunk. A chunk that takes longer is retried."
    )
    jobs_lease_s: float = Field(
        15.0,
        ge=1,
        description="How long a worker may be silent until another one takes over its chunks.",
    )
    jobs_retry_s: float = Field(
        3600.0,
        ge=0,
        description="How long a chunk is retried while the model server is unavailable or overloaded; then its job "
        "fails.",
    )
    jobs_heartbeat_file: Path | None = Field(
        None, description="File that a worker of jobs touches twice a second while it works, for health checks."
    )
    jobs_webhook_threads: int = Field(
        8,
        ge=1,
        le=64,
        description="Webhooks that a worker of jobs delivers at the same time, at most a quarter of them for one "
        "caller.",
    )
    jobs_max_webhooks: int = Field(
        100,
        ge=1,
        description="Maximum number of finished jobs of one caller whose webhook is not delivered. Beyond it, new jobs "
        "with a webhook get 429.",
    )
    jobs_webhook_retry_s: float = Field(
        21_600.0, ge=0, description="How long a webhook is retried that does not answer with status 2xx."
    )
    jobs_webhook_deadline_s: float = Field(10.0, gt=0, le=30, description="Time for one attempt to deliver a webhook.")

    sagemaker: bool = Field(
        default=False,
        description="Whether the gateway also serves `GET /ping` and `POST /invocations`, for Amazon SageMaker.",
    )

    compatible_apis: bool = Field(
        default=True,
        description="Whether the gateway also serves the Open Inference Protocol under `/v2` and TensorFlow Serving's "
        "REST predictions under `/v1/models` ([other clients](../guides/other_clients.md)).",
    )

    cors_origins: Names = Field(
        (),
        description="Origins whose pages may call the API from a browser, such as `https://app.example`, or `*` for "
        "all.",
    )

    api_keys_file: Path | None = Field(
        None,
        description="File of API keys, written by `image-gateway keys add`. If it is set, requests need a key "
        "([access](../guides/access.md)). Read again when it changes; while it is damaged, keys that cannot be "
        "read from it get 503.",
    )
    api_keys: Names = Field(
        (), description="API keys instead of the file, or in addition to it: lines of such a file, comma-separated."
    )

    rate_limit: str = Field(
        "",
        description="Limit on the API requests of each key or, without keys, of each client address, such as "
        "`60/minute`, or several limits, such as `10/second;5000/day`. A batch counts once for each image. Empty for "
        "no limit.",
    )
    rate_limit_storage: Literal["memory", "redis"] = Field(
        "memory",
        description="Where requests are counted: separately in each worker, so that several workers together accept "
        "more, or in Redis for all workers of all gateways.",
    )
    rate_limit_fallback: Literal["memory", "allow", "deny"] = Field(
        "memory",
        description="What happens while Redis is unreachable: count in memory, accept without counting, or answer 503.",
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        le=16,
        description="Number of trusted reverse proxies in front of the gateway, each of which appends the client's "
        "address to `X-Forwarded-For`. The bundled nginx is one; `make run` and Compose set 1. 0 ignores the header: "
        "behind a proxy, all users without keys then count as one client, and share its rate limit, its decoder "
        "processes, its fetch threads and its turn when requests wait.",
    )

    root_path: str = Field(
        "",
        description="Path below which a proxy in front publishes the gateway, such as `/gw`, whether or not that proxy "
        "removes it from requests. `/livez`, `/readyz` and `/metrics` stay where they are, too.",
    )

    metrics_max_classes: int = Field(
        1000,
        ge=0,
        description="Number of classes of a model, from the first, that `/metrics` counts separately. The others are "
        "counted together.",
    )

    tracing: bool = Field(
        default=False,
        description="Whether to send OpenTelemetry spans, configured by OpenTelemetry's own variables "
        "([monitoring](../operating/monitoring.md#traces)). Needs the extra `tracing`.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum level of events that are logged."
    )
    log_json: bool = Field(
        default=True, description="Whether to log JSON lines; `false` logs coloured text for people."
    )

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        for inner, outer in (
            ("model_deadline_s", "request_deadline_s"),
            ("fetch_deadline_s", "request_deadline_s"),
            ("request_deadline_s", "worker_timeout_s"),
        ):
            if getattr(self, inner) > getattr(self, outer):
                raise ValueError(f"{_variable(inner)} must not be greater than {_variable(outer)}")
        return self

    @field_validator("tfs_target")
    @classmethod
    def _check_tfs_target(cls, value: str) -> str:
        if not _is_target(value):
            raise ValueError(f"expected HOST:PORT without a scheme or path, such as {_suggest_target(value)}")
        return value

    @model_validator(mode="after")
    def _check_redis_url(self) -> Self:
        # Errors of a field show its value, and the URL may contain a password.
        if not _is_redis_url(self.redis_url):
            raise ValueError(
                f"{_variable('redis_url')}: expected redis://HOST:PORT/NUMBER, or rediss:// for TLS, or unix:///PATH"
            )
        return self

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, value: str) -> str:
        root = value.rstrip("/")
        if not ROOT_PATH.fullmatch(root):
            raise ValueError("expected a path such as /gw, of letters, digits and the characters . _ ~ -")
        return root

    @field_validator("rate_limit")
    @classmethod
    def _check_rate_limit(cls, value: str) -> str:
        if not value:
            return value
        limits = importlib.import_module("limits")  # only with a rate limit, like `gateway.app`: it takes 2 MB
        try:
            rates = limits.parse_many(value)
        except ValueError:
            rates = []
        if not rates or any(rate.amount < 1 for rate in rates):
            raise ValueError(
                "expected one or more limits NUMBER/second, NUMBER/minute, NUMBER/hour or NUMBER/day, separated by ;"
            )
        return value

    @field_validator("api_keys")
    @classmethod
    def _check_api_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:  # a missing secret must not switch authentication off
            raise ValueError(
                "expected at least one NAME:SALT:HASH; remove the variable to accept requests without a key"
            )
        return value

    @model_validator(mode="after")
    def _check_memory_budget(self) -> Self:
        smallest = smallest_budget(self.max_body_bytes, self.places)
        if self.memory_budget_bytes < smallest:
            is_default = "memory_budget_bytes" not in self.model_fields_set
            raise ValueError(
                f"GATEWAY_MEMORY_BUDGET_BYTES={self.memory_budget_bytes}{' (the default here)' if is_default else ''} "
                f"is too small for a body of GATEWAY_MAX_BODY_BYTES={self.max_body_bytes} and the beginnings of "
                f"{self.places} others (GATEWAY_THREADS and GATEWAY_MAX_WAITING): expected at least {smallest} for "
                f"each of GATEWAY_WORKERS={self.workers}"
            )
        return self

    @property
    def places(self) -> int:
        """Number of requests that a worker takes on at the same time."""
        return self.threads + self.max_waiting

    @property
    def requires_keys(self) -> bool:
        """Whether requests need an API key."""
        return bool(self.api_keys or self.api_keys_file)

    @field_validator("fetch_public_hosts", "fetch_denied_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not is_host_pattern(host):
                raise ValueError(
                    f"{host!r} is not a host name (without scheme, port and path), an address or a network"
                )
        return value

    @field_validator("fetch_ca_bundle")
    @classmethod
    def _check_ca_bundle(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                ssl.create_default_context(cafile=value)
            except OSError as error:
                raise ValueError(f"expected a PEM file of certificates: {error}") from error
        return value

    @field_validator("fetch_proxy")
    @classmethod
    def _check_proxy(cls, value: str | None) -> str | None:
        if value and not PROXY.fullmatch(value):
            raise ValueError("expected http://HOST:PORT or https://HOST:PORT")
        return value or None

    @field_validator("fetch_user_agent")
    @classmethod
    def _check_user_agent(cls, value: str) -> str:
        if not USER_AGENT.fullmatch(value):
            raise ValueError("expected 1 to 256 characters of printable ASCII")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin; expected * or scheme://host[:port], without a path")
        return value

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings from environment variables.

        Args:
            environ: Usually `os.environ`. Variables without the prefix `GATEWAY_` are ignored.

        Raises:
            SettingsError: A value is invalid, or a variable with the prefix does not belong to any setting.
        """
        values = {
            name.removeprefix(PREFIX).lower(): value.strip()
            for name, value in environ.items()
            if name.startswith(PREFIX) and not FOREIGN_VARIABLE.match(name)
        }
        for field in values:
            if field not in cls.model_fields:
                raise SettingsError(_unknown(field, list(cls.model_fields)))
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError("; ".join(map(_message, _without_consequences(error.errors())))) from None


def _is_target(value: str) -> bool:
    """Return whether a value is a gRPC name or HOST:PORT, with ports that exist and a host."""
    if not GRPC_TARGET.fullmatch(value):
        return False
    if value.startswith(OTHER_NAMES):
        return True
    scheme, _, rest = value.partition(":")
    has_host = scheme not in SCHEMES or not rest.strip("/").isdecimal()
    return has_host and all(map(_is_port, TARGET_PORT.findall(value)))


def _is_redis_url(value: str) -> bool:
    """Return whether the client of Redis accepts a URL; it imports nothing, as Redis may not be installed."""
    try:
        parts = urlsplit(value)
        has_port = parts.port != 0
    except ValueError:  # of a port that is not a number, or too high
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    return parts.scheme in {"redis", "rediss"} and has_port and REDIS_DATABASE.fullmatch(parts.path) is not None


def _is_port(text: str) -> bool:
    return text.isdecimal() and len(text) <= len(str(HIGHEST_PORT)) and 0 < int(text) <= HIGHEST_PORT


def _suggest_target(value: str) -> str:
    """Return what was probably meant: the host and port of a URL, with the default port instead of none or REST's."""
    if value.startswith("unix"):
        return "unix:/run/tfs.sock"
    scheme, _, rest = value.rpartition(":")
    if scheme in {"", *SCHEMES} and _is_port(rest.strip("/")):
        value = f"127.0.0.1:{rest.strip('/')}"
    try:
        parts = urlsplit(value if "://" in value else f"//{value}")
        host, port = parts.hostname, parts.port
    except ValueError:  # an IPv6 address without brackets, or a port that does not exist
        host, _, last = value.rpartition(":")
        host, port = host.strip("[]"), int(last) if _is_port(last) else None
    if not host or not is_host_pattern(host):
        return f"127.0.0.1:{GRPC_PORT}"
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{GRPC_PORT if port in {None, 0, REST_PORT} else port}"


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _unknown(field: str, fields: list[str]) -> str:
    matches = difflib.get_close_matches(field, fields, n=1)
    hint = f"; did you mean {_variable(matches[0])}?" if matches else "; docs/reference/settings.md lists all settings"
    return f"{_variable(field)} is not a setting{hint}"


def _without_consequences(items: Sequence[Any]) -> list[Any]:
    """Leave out what follows from other errors.

    A list is too short if its items are invalid, since pydantic counts only valid ones, and a default that depends on
    other settings has no value.
    """
    with_invalid_items = {item["loc"][0] for item in items if len(item["loc"]) > 1}
    return [
        item
        for item in items
        if item["type"] != "default_factory_not_called"
        and (item["type"] != "too_short" or item["loc"][0] not in with_invalid_items)
    ]


def _message(item: Any) -> str:
    reason = str(item["msg"]).removeprefix("Value error, ")
    if not item["loc"]:
        return reason
    template = EXPECTED.get(item["type"], "")
    expected = template.format_map(item.get("ctx", {})) or reason.replace("Input should be", "expected")
    value = ",".join(item["input"]) if isinstance(item["input"], tuple) else item["input"]
    return f"{_variable(str(item['loc'][0]))}={value!r}: {expected}"
