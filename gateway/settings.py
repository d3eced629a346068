"""What can be set, read from the environment in this one place."""

import difflib
import importlib
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from gateway.host_patterns import is_host_pattern

PREFIX = "GATEWAY_"

# Variables of others with our prefix: Kubernetes sets GATEWAY_SERVICE_HOST, GATEWAY_PORT_8000_TCP and the like for a
# Service named gateway, and make passes on its own GATEWAY_PORT.
NOT_OURS = re.compile(r"GATEWAY_(PORT|SERVICE)(_|$)")


# As a browser writes it (RFC 6454 section 6.2); in capitals it would never be met.
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#*\sA-Z]+")


PROXY = re.compile(r"https?://[^/?#\s]+/?")


class SettingsError(ValueError):
    """A setting has a value that cannot be used, or a variable names no setting."""


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]


def _processors() -> int:
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)


class Settings(BaseModel):
    """The gateway's settings; each is the environment variable `GATEWAY_` + its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    bind: str = Field("127.0.0.1:8000", description="Address and port, or `unix:` path, to listen on.")
    workers: int = Field(
        default_factory=_processors,
        ge=1,
        le=64,
        description="Worker processes. Default: the processors, at most 8.",
    )
    threads: int = Field(
        8,
        ge=1,
        le=256,
        description="Requests that one worker works on at the same time; a batch counts once for each image.",
    )
    max_waiting: int = Field(
        128,
        ge=0,
        le=1024,
        description="Requests that may wait in one worker until it has time; further ones get 503 at once.",
    )
    max_wait_s: float = Field(3.0, ge=0, description="How long one of them may wait before it is refused too.")
    worker_timeout_s: int = Field(
        30,
        ge=1,
        description="After so long without a sign of life a worker is replaced. More than the request's time.",
    )
    start_wait_s: float = Field(
        0.0,
        ge=0,
        le=600,
        description="How long a worker that starts waits for the default model; requests queue up meanwhile and get no "
        "503. For platforms that send one as soon as the port is open.",
    )
    drain_delay_s: float = Field(
        0.0,
        ge=0,
        le=600,
        description="How long a gateway that was told to stop says that it is not ready, and answers as before, until "
        "it stops: as long as a load balancer may take to notice.",
    )
    graceful_timeout_s: int = Field(20, ge=1, description="How long a stop waits for requests in progress.")

    tfs_target: str = Field(
        "127.0.0.1:8500",
        description="The model server's gRPC address; several addresses behind one name are used in turn.",
    )
    models_config: Path = Field(
        Path("serving_models/models.config"),
        description="The model server's `models.config`, whose models are offered. Read again when it changes.",
    )
    models: Names = Field((), description="Names of the models offered, comma-separated, in place of `models.config`.")
    default_model: str | None = Field(
        None, description="The model behind `/api/v1/predict`. Default: the first one offered."
    )
    cards_dir: Path = Field(
        Path("serving_models"),
        description="Where `NAME/card.json` lies for models that carry no card of their own, and `NAME/VERSION/` with "
        "the golden images that `/readyz` asks about; where they are not to be seen, it asks about a gray picture.",
    )
    models_poll_s: float = Field(
        1.0, gt=0, le=60, description="How often the model server is asked which versions it serves."
    )

    request_deadline_s: float = Field(
        10.0,
        gt=0,
        description="Time for one request: fetching, decoding and predicting together. `X-Request-Timeout` may ask for "
        "less, never for more.",
    )
    model_deadline_s: float = Field(
        5.0,
        gt=0,
        description="Time for one call to the model server; it is tried again where the request has time left.",
    )
    health_deadline_s: float = Field(1.0, gt=0, description="Time for the model server's answer to a readiness check.")

    max_body_bytes: int = Field(10 * 1024 * 1024, ge=1024, description="Largest request body.")
    max_pixels: int = Field(
        50_000_000,
        ge=1,
        description="Largest image, width times height, read from its header before it is decoded.",
    )
    max_json_depth: int = Field(
        16, ge=3, le=256, description="How deep lists and objects of a JSON body may be nested; a batch needs 3."
    )
    max_json_values: int = Field(10_000, ge=16, description="Most values and names in a JSON body.")
    max_images: int = Field(64, ge=1, description="Most images in one request.")
    max_batch_size: int = Field(
        32,
        ge=1,
        description="Most images in one call to the model server: no more than its `max_batch_size`, where it has one.",
    )
    calls_in_flight: int = Field(
        0,
        ge=0,
        le=256,
        description="Calls for one version of a model that a worker has in flight; the images of requests that come "
        "meanwhile go together, by the next one. 0: no limit, and a call for each request, as a model server that "
        "batches wants it.",
    )
    decode_threads: int = Field(
        default_factory=_processors,
        ge=1,
        le=64,
        description="Images of batches that one worker decodes at the same time. Default: the processors, at most 8.",
    )
    default_top_k: int = Field(5, ge=1, description="Classes in an answer when `top_k` is not given.")

    fetch_enabled: bool = Field(default=True, description="Whether images may be given as a URL.")
    fetch_deadline_s: float = Field(5.0, gt=0, description="Time for fetching one image URL, redirects included.")
    fetch_max_bytes: int = Field(10 * 1024 * 1024, ge=1024, description="Largest picture that is fetched from a URL.")
    fetch_max_redirects: int = Field(3, ge=0, le=10, description="Redirects followed for one image URL.")
    fetch_threads: int = Field(
        16, ge=1, le=256, description="Images of batches that one worker fetches at the same time."
    )
    fetch_schemes: Annotated[tuple[Literal["http", "https"], ...], BeforeValidator(_split_commas)] = Field(
        ("http", "https"), min_length=1, description="Schemes of image URLs."
    )
    fetch_ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], BeforeValidator(_split_commas)] = Field(
        (80, 443), min_length=1, description="Ports that public hosts are fetched from."
    )
    fetch_allowed_hosts: Names = Field(
        (),
        description="Hosts, or host:port, that may be fetched from although their address is private, on every port or "
        "that one. Every other host must have a public address.",
    )
    fetch_public_hosts: Names = Field(
        (),
        description="Public hosts that may be fetched from, `*.example.com` for all below a name. Default: every one.",
    )
    fetch_denied_hosts: Names = Field(
        (),
        description="Hosts, or `*.example.com`, and addresses or networks, such as `203.0.113.0/24`, that are never "
        "fetched from, even where another setting allows it.",
    )
    fetch_ca_bundle: Path | None = Field(
        None,
        description="Certificates (PEM) of the authorities that hosts of `GATEWAY_FETCH_ALLOWED_HOSTS` are trusted by. "
        "Default: the public ones, which all other hosts are held to.",
    )
    fetch_proxy: str | None = Field(
        None,
        description="URL of a proxy for fetching. It looks up the names then and must itself refuse private addresses. "
        "Proxies of the environment are not used.",
    )

    cache: Literal["off", "memory", "redis"] = Field(
        "off",
        description="Where results are kept for pictures that are asked about again: nowhere, in each worker's memory, "
        "or in Redis for all workers.",
    )
    cache_max_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024,
        description="Most memory that one worker's kept results take. Redis is bounded by its own `maxmemory`.",
    )
    cache_ttl_s: float = Field(3600.0, gt=0, description="How long a result is kept.")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="The Redis that is used where a setting says so.")
    redis_timeout_s: float = Field(0.25, gt=0, description="Longest wait for an answer of Redis.")

    sagemaker: bool = Field(
        default=False,
        description="Whether `GET /ping` and `POST /invocations` are served too, for Amazon SageMaker.",
    )

    cors_origins: Names = Field(
        (),
        description="Origins, such as `https://app.example`, whose pages may ask from a browser, or `*` for every one.",
    )

    api_keys_file: Path | None = Field(
        None,
        description="File of API keys, as `image-gateway keys add` writes it. Once it is set, requests need a key "
        "([access](access.md)). Read again when it changes.",
    )
    api_keys: Names = Field(
        (), description="API keys in place of the file, or besides it: lines of such a file, comma-separated."
    )

    rate_limit: str = Field(
        "",
        description="Requests to the API that one key, or without keys one client address, may make: `60/minute`, or "
        "several such limits as in `10/second;5000/day`. Empty for no limit.",
    )
    rate_limit_storage: Literal["memory", "redis"] = Field(
        "memory",
        description="Where requests are counted: in each worker process by itself, so that several workers together "
        "let more through, or in Redis for all workers of all gateways.",
    )
    rate_limit_fallback: Literal["memory", "allow", "deny"] = Field(
        "memory",
        description="While Redis is away: count in memory, answer without counting, or answer 503.",
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        le=16,
        description="Proxies in front, each of which adds to `X-Forwarded-For` the address it was asked from. Our "
        "nginx is one, and set as such by `make run` and Compose. With 0 the header is not believed.",
    )

    metrics_max_classes: int = Field(
        1000,
        ge=0,
        description="Classes of a model, from the first, that `/metrics` counts apart; the others count together.",
    )

    tracing: bool = Field(
        default=False,
        description="Send spans of OpenTelemetry, to where its own variables say "
        "([monitoring](monitoring.md#traces)). Needs the extra `tracing`.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe event logged.")
    log_json: bool = Field(default=True, description="Log as JSON lines; `false` gives coloured text for people.")

    @model_validator(mode="after")
    def _times_nest(self) -> Self:
        for inner, outer in (
            ("model_deadline_s", "request_deadline_s"),
            ("fetch_deadline_s", "request_deadline_s"),
            ("request_deadline_s", "worker_timeout_s"),
        ):
            if getattr(self, inner) > getattr(self, outer):
                raise ValueError(f"{_variable(inner)} must not be more than {_variable(outer)}")
        return self

    @field_validator("rate_limit")
    @classmethod
    def _is_a_limit(cls, value: str) -> str:
        if not value:
            return value
        limits = importlib.import_module("limits")  # as `gateway.app` does with what counts
        try:
            rates = limits.parse_many(value)
        except ValueError:
            rates = []
        if not rates or any(rate.amount < 1 for rate in rates):
            raise ValueError("expected one or more of NUMBER/second, /minute, /hour or /day, separated by ;")
        return value

    @field_validator("api_keys")
    @classmethod
    def _has_a_key(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:  # a secret that was not found must not open the door
            raise ValueError("expected at least one NAME:SALT:HASH; without the variable no key is needed")
        return value

    @property
    def wants_keys(self) -> bool:
        """Whether requests need an API key."""
        return bool(self.api_keys or self.api_keys_file)

    @field_validator("fetch_public_hosts", "fetch_denied_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not is_host_pattern(host):
                raise ValueError(f"{host!r} is no host name, without scheme, port or path, and no address")
        return value

    @field_validator("fetch_ca_bundle")
    @classmethod
    def _is_bundle(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                ssl.create_default_context(cafile=value)
            except OSError as error:
                raise ValueError(f"holds no certificates that can be read: {error}") from error
        return value

    @field_validator("fetch_proxy")
    @classmethod
    def _is_proxy(cls, value: str | None) -> str | None:
        if value and not PROXY.fullmatch(value):
            raise ValueError("expected http://host:port, or https")
        return value or None

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin; expected * or scheme://host[:port], without a path")
        return value

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings from environment variables.

        Args:
            environ: Usually `os.environ`. Variables without the prefix are none of ours.

        Raises:
            SettingsError: a value cannot be used, or a variable with our prefix names no setting.
        """
        given = {
            name.removeprefix(PREFIX).lower(): value.strip()
            for name, value in environ.items()
            if name.startswith(PREFIX) and not NOT_OURS.match(name)
        }
        for field in given:
            if field not in cls.model_fields:
                raise SettingsError(_unknown(field, list(cls.model_fields)))
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise SettingsError("; ".join(_complaint(item) for item in error.errors())) from None


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _unknown(field: str, known: list[str]) -> str:
    near = difflib.get_close_matches(field, known, n=1)
    hint = f"; did you mean {_variable(near[0])}?" if near else "; docs/settings.md lists those there are"
    return f"{_variable(field)} is no setting{hint}"


def _complaint(item: Any) -> str:
    if not item["loc"]:
        return str(item["msg"]).removeprefix("Value error, ")
    expected = "expected true or false" if item["type"].startswith("bool") else item["msg"]
    return f"{_variable(str(item['loc'][0]))}={item['input']!r}: {expected}"
