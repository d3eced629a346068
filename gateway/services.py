"""What the gateway and the workers of jobs are made of alike: everything between an image and its prediction."""

import importlib
from dataclasses import dataclass
from typing import Any

import cv2

from gateway.caching.caching_predictor import CachingPredictor, Store
from gateway.caching.memory_store import MemoryStore
from gateway.capacity import Admission, MemoryBudget
from gateway.fetching.counted import CountedFetcher
from gateway.fetching.destinations import Destinations
from gateway.fetching.fetch import FetchLimits, UrlFetcher
from gateway.fetching.fetcher import DisabledFetcher, Fetcher
from gateway.fetching.pool import FetchPool, PoolLimits
from gateway.model_client.micro_batching import MicroBatcher
from gateway.model_client.protocol import ModelServer
from gateway.model_client.tfserving import TensorFlowServing
from gateway.models.configured import ConfiguredModels, ModelsConfigError
from gateway.models.registry import ModelRegistry
from gateway.prediction.decoders import DecoderLimits, Decoders
from gateway.prediction.image_loader import ImageLoader, PixelLimits
from gateway.prediction.predictor import ModelPredictor, Predictor
from gateway.reloaded_file import UnreadableFileError
from gateway.settings import Settings, SettingsError
from vision.isolation.pool import DecoderPool

RETRIED_ROWS_PER_SLOT = 5
"""Images that may be repeated at once after a time without failures, for each that a worker processes.

Enough for three servers, one of which is frozen, until it is ejected: each slot loses about three calls."""
INSTALL_EXTRA = ".tools/uv/bin/python tools/uv.py install .venv --extra"


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of a process that classifies images.

    Attributes:
        registry: Which version of each model answers.
        model_predictor: Classifies images with the model server.
        predictor: The same, with a cache if that is enabled.
        image_loader: Fetches and decodes images.
        admission: What the process takes on at once.
    """

    registry: ModelRegistry
    model_predictor: ModelPredictor
    predictor: Predictor
    image_loader: ImageLoader
    admission: Admission


def make_services(
    settings: Settings,
    *,
    server: ModelServer,
    fetcher: Fetcher,
    configured_models: ConfiguredModels,
) -> Services:
    """Assemble what classifies images.

    Args:
        settings: The settings.
        server: Client of the model server; see `connect`.
        fetcher: Fetches images by URL; see `make_fetcher`.
        configured_models: The models that are offered; see `make_configured_models`.

    Raises:
        SettingsError: The default model is not configured, or the cache needs a package that is not installed.
    """
    models = configured_models.current()
    if settings.default_model is not None and settings.default_model not in models:
        raise SettingsError(f"GATEWAY_DEFAULT_MODEL={settings.default_model!r} is not among {', '.join(models)}")
    # Its messages about a damaged image are returned to the caller instead of being written to stderr.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    cv2.setNumThreads(1)  # requests run in parallel already; OpenCV's own threads would compete for the same cores
    registry = ModelRegistry(
        server,
        configured_models,
        default=settings.default_model,
        cards_dir=settings.cards_dir,
        status_deadline_s=settings.health_deadline_s,
    )
    memory_budget = MemoryBudget(settings.memory_budget_bytes, places=settings.places, max_wait_s=settings.max_wait_s)
    image_loader = ImageLoader(
        FetchPool(CountedFetcher(fetcher), _pool_limits(settings)),
        decoders=_make_decoders(settings, memory_budget),
        limits=PixelLimits(settings.max_pixels, settings.inline_max_pixels),
        decode_threads=settings.decode_threads,
        memory=memory_budget,
    )
    model_predictor = ModelPredictor(registry, server, image_loader, max_batch_size=settings.max_batch_size)
    admission = Admission(
        memory_budget,
        slots=settings.threads,
        max_waiting=settings.max_waiting,
        max_wait_s=settings.max_wait_s,
        max_download_bytes=settings.max_body_bytes,
    )
    predictor = _add_cache(model_predictor, registry, image_loader, settings)
    return Services(registry, model_predictor, predictor, image_loader, admission)


def _make_decoders(settings: Settings, memory: MemoryBudget) -> Decoders:
    pool = DecoderPool(
        processes=settings.decoder_processes,
        max_memory_bytes=memory.decoders.size,
        max_pixels=settings.max_pixels,
    )
    limits = DecoderLimits(settings.decoder_processes, settings.decode_deadline_s)
    return Decoders(pool, limits)


def connect(settings: Settings) -> ModelServer:
    """Return a client of the model server; call this in the process that uses it, never before a fork."""
    server = TensorFlowServing(
        settings.tfs_target,
        call_deadline_s=settings.model_deadline_s,
        max_retried_rows=RETRIED_ROWS_PER_SLOT * settings.threads,
    )
    if settings.calls_in_flight == 0:
        return server
    return MicroBatcher(server, calls=settings.calls_in_flight, max_rows=settings.max_batch_size)


def _pool_limits(settings: Settings) -> PoolLimits:
    # A request that fetches occupies a thread: at least half of those for requests that wait are left to uploads.
    requests = max(1, settings.places // 2)
    return PoolLimits(
        threads=settings.fetch_threads,
        threads_per_client=settings.fetch_threads_per_client,
        requests=requests,
        max_wait_s=settings.fetch_max_wait_s,
    )


def make_fetcher(settings: Settings) -> Fetcher:
    """Return the fetcher of images by URL.

    Raises:
        SettingsError: Tracing is enabled and not installed.
    """
    fetcher: Fetcher = make_url_fetcher(settings) if settings.fetch_enabled else DisabledFetcher()
    if settings.tracing:
        fetcher = _import_with_tracing("gateway.fetching.traced").TracedFetcher(fetcher)
    return fetcher


def make_url_fetcher(settings: Settings) -> UrlFetcher:
    """Return what fetches URLs within the rules of the settings."""
    destinations = Destinations(
        schemes=settings.fetch_schemes,
        ports=settings.fetch_ports,
        allowed_hosts=settings.fetch_allowed_hosts,
        public_hosts=settings.fetch_public_hosts,
        denied_hosts=settings.fetch_denied_hosts,
    )
    limits = FetchLimits(
        settings.fetch_deadline_s,
        settings.fetch_max_bytes,
        settings.fetch_max_redirects,
        settings.fetch_max_url_length,
        lookup_s=settings.fetch_lookup_s,
        connections_per_host=settings.fetch_connections_per_host,
        max_wait_s=settings.fetch_max_wait_s,
    )
    return UrlFetcher(
        destinations,
        limits,
        ca_bundle=settings.fetch_ca_bundle,
        proxy=settings.fetch_proxy,
        user_agent=settings.fetch_user_agent,
    )


def _add_cache(
    predictor: Predictor, registry: ModelRegistry, image_loader: ImageLoader, settings: Settings
) -> Predictor:
    """Return the predictor itself, or one that caches its predictions if the cache is enabled.

    Raises:
        SettingsError: The cache needs the package `redis`, which is not installed.
    """
    if settings.cache == "off":
        return predictor
    if settings.cache == "memory":
        store: Store = MemoryStore(max_bytes=settings.cache_max_bytes, ttl_s=settings.cache_ttl_s)
        return CachingPredictor(predictor, registry, image_loader, store)
    try:
        redis_store = importlib.import_module("gateway.caching.redis_store")
    except ModuleNotFoundError as error:
        raise SettingsError(f"GATEWAY_CACHE=redis needs the extra `redis`: {INSTALL_EXTRA} redis.") from error
    store = redis_store.RedisStore(settings.redis_url, ttl_s=settings.cache_ttl_s, timeout_s=settings.redis_timeout_s)
    return CachingPredictor(predictor, registry, image_loader, store)


def load_tracing() -> Any:
    """Import `gateway.observability.tracing`, which needs the extra `tracing`.

    Raises:
        SettingsError: The extra is not installed.
    """
    return _import_with_tracing("gateway.observability.tracing")


def _import_with_tracing(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise SettingsError(f"GATEWAY_TRACING=true needs the extra `tracing`: {INSTALL_EXTRA} tracing.") from error


def make_configured_models(settings: Settings) -> ConfiguredModels:
    """Return the models that are offered.

    Raises:
        SettingsError: `GATEWAY_MODELS` is empty and the file of `GATEWAY_MODELS_CONFIG` cannot be used.
    """
    if settings.models:
        return ConfiguredModels.from_names(settings.models)
    try:
        return ConfiguredModels.from_file(settings.models_config)
    except (ModelsConfigError, UnreadableFileError) as error:
        raise SettingsError(
            f"{error} Set GATEWAY_MODELS_CONFIG to the model server's file, or GATEWAY_MODELS."
        ) from error
