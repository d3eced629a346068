"""Assemble the parts of jobs: the routes in a gateway, and the store for both gateways and workers."""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flask import Blueprint, Response

from gateway.fetching.fetch import UrlFetcher
from gateway.http.views import register_admission
from gateway.jobs.archives import ArchiveLimits
from gateway.jobs.intake import ChunkSizes, JobIntake
from gateway.jobs.metrics import JobCollector
from gateway.jobs.options import OptionsParser
from gateway.jobs.records import StoreLimits
from gateway.jobs.sqlite_store import SqliteStore
from gateway.jobs.store import JobStore
from gateway.jobs.submissions import SubmissionLimits, SubmissionParser
from gateway.jobs.uploads import SLOWEST_S, UploadPlaces
from gateway.jobs.views import JobServices, create_jobs, defer_prediction
from gateway.prediction.predictor import PredictionRequest
from gateway.services import INSTALL_EXTRA, Services, make_url_fetcher
from gateway.settings import Settings, SettingsError

STORING_S = 600.0
"""Time for storing a job that has arrived. What a gateway that is killed meanwhile leaves of it is deleted then."""


@dataclass(frozen=True, slots=True)
class JobParts:
    """What jobs add to an application.

    Attributes:
        blueprint: The routes.
        defer: Answers a request for predictions with a job.
        collector: The metrics.
    """

    blueprint: Blueprint
    defer: Callable[[PredictionRequest], Response]
    collector: JobCollector


def create(settings: Settings, services: Services) -> JobParts:
    """Return what jobs add to an application.

    Raises:
        SettingsError: Jobs in Redis need a package that is not installed.
    """
    store = make_store(settings)
    job_services = make_job_services(settings, services, store)
    blueprint = create_jobs(job_services, lambda routes: register_admission(routes, services.admission))
    return JobParts(blueprint, partial(defer_prediction, job_services), JobCollector(store))


def make_job_services(settings: Settings, services: Services, store: JobStore) -> JobServices:
    """Return what the routes use."""
    archive = ArchiveLimits(settings.jobs_max_images, settings.max_body_bytes, settings.jobs_max_bytes)
    webhooks = make_poster(settings)
    sizes = ChunkSizes(
        settings.jobs_chunk_images,
        max_urls=min(settings.jobs_chunk_images, settings.fetch_threads_per_client),
        max_bytes=settings.max_body_bytes,
    )
    return JobServices(
        store,
        SubmissionParser(
            SubmissionLimits(archive, settings.max_json_depth, settings.jobs_dir, settings.jobs_upload_min_rate),
            OptionsParser(default_top_k=settings.default_top_k, webhooks=webhooks),
        ),
        JobIntake(store, _make_wake(settings), sizes),
        UploadPlaces(settings.jobs_uploads, max_wait_s=settings.max_wait_s, patience_s=SLOWEST_S),
        services.registry,
        settings.jobs_upload_deadline_s,
        settings.health_deadline_s,
    )


def _make_wake(settings: Settings) -> Callable[[str, int], None]:
    """Return what wakes a worker, by a queue that is opened for the first job: huey's import takes up to 9 MB.

    Raises:
        ModuleNotFoundError: huey is not installed.
    """
    if importlib.util.find_spec("huey") is None:
        raise ModuleNotFoundError("No module named 'huey'", name="huey")

    @functools.cache
    def open_queue() -> Callable[[str, int], None]:
        module = importlib.import_module("gateway.jobs.wakeups")
        wake_by_queue: Callable[[str, int], None] = module.WakeUps(module.make_queue(settings)).wake
        return wake_by_queue

    def wake(job_id: str, turn: int) -> None:
        open_queue()(job_id, turn)

    return wake


def make_poster(settings: Settings) -> UrlFetcher | None:
    """Return what checks and sends webhooks; None if fetching is disabled."""
    return make_url_fetcher(settings) if settings.fetch_enabled else None


def make_webhook_poster(settings: Settings) -> UrlFetcher | None:
    """Return what sends webhooks from a worker: one host gets half of the threads, and the others are tried later."""
    own = {"fetch_connections_per_host": settings.jobs_webhook_threads, "fetch_max_wait_s": 0.0}
    return make_poster(settings.model_copy(update=own))


def make_store(settings: Settings) -> JobStore:
    """Return the store that the settings define.

    Raises:
        SettingsError: Jobs in Redis need a package that is not installed.
    """
    limits = StoreLimits(
        settings.jobs_max_stored_bytes,
        settings.jobs_max_unfinished,
        settings.jobs_max_webhooks,
        settings.jobs_retention_s,
        STORING_S,
        settings.jobs_lease_s,
    )
    if settings.jobs == "sqlite":
        return SqliteStore(settings.jobs_dir, limits)
    try:
        redis_store = importlib.import_module("gateway.jobs.redis_store")
    except ModuleNotFoundError as error:
        raise SettingsError(f"GATEWAY_JOBS=redis needs the extra `redis`: {INSTALL_EXTRA} redis.") from error
    store: JobStore = redis_store.RedisStore(settings.redis_url, limits)
    return store
