"""The composition root: assembles the application and starts nothing."""

import importlib
from typing import Any

from flask import Flask

from gateway.access import authentication
from gateway.fetching.fetcher import Fetcher
from gateway.health.readiness import Readiness
from gateway.health.routes import create_health
from gateway.http import cors, pages, problems, request_context, sagemaker
from gateway.http.forwarded import ForwardedFor
from gateway.http.request_context import Gateway
from gateway.http.root_path import RootPath
from gateway.http.views import create_api
from gateway.model_client.protocol import ModelServer
from gateway.models.configured import ConfiguredModels
from gateway.openapi import problem_pages
from gateway.openapi.routes import create_openapi
from gateway.playground.routes import create_playground
from gateway.services import INSTALL_EXTRA, Services, make_services
from gateway.settings import Settings, SettingsError

FORM_PARTS_BESIDE_IMAGES = 32


def create_app(
    settings: Settings,
    *,
    server: ModelServer,
    fetcher: Fetcher,
    configured_models: ConfiguredModels,
) -> Flask:
    """Assemble the application from its parts.

    Args:
        settings: The settings.
        server: Client of the model server; see `connect`.
        fetcher: Fetches images by URL; see `make_fetcher`.
        configured_models: The models that are offered; see `make_configured_models`.

    Returns:
        The application. Its `ModelRegistry`, which a process may `watch`, is `app.extensions["registry"]`.

    Raises:
        SettingsError: The default model is not configured, the API keys cannot be read, or the storage of the rate
            limits or of the jobs cannot be used.
    """
    services = make_services(settings, server=server, fetcher=fetcher, configured_models=configured_models)
    registry = services.registry
    app = Gateway(__name__, static_folder=None)
    # Otherwise //api/v1/models is redirected to an absolute URL with the client's Host.
    app.url_map.merge_slashes = False
    # A path with a slash at its end is answered as the same without it: a redirect would lose the body of a POST.
    app.url_map.strict_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]  # an attribute of the default provider
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["MAX_FORM_PARTS"] = settings.max_images + FORM_PARTS_BESIDE_IMAGES
    app.config["PUBLISHED_ROOT"] = settings.root_path
    app.extensions["registry"] = registry
    if settings.trusted_proxies:
        app.wsgi_app = ForwardedFor(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]
    if settings.root_path:
        app.wsgi_app = RootPath(app.wsgi_app, settings.root_path)  # type: ignore[method-assign]
    request_context.register(app, settings)
    problems.register(app)
    register_access(app, settings)
    request_context.register_timeout(app)
    cors.register(app, settings)
    app.extensions["admission"] = services.admission
    jobs = None if settings.jobs == "off" else _create_jobs(settings, services)
    app.register_blueprint(
        create_api(services.predictor, registry, services.admission, settings, defer=jobs and jobs.defer)
    )
    if jobs is not None:
        app.register_blueprint(jobs.blueprint)
    app.register_blueprint(create_openapi(settings))
    readiness = Readiness(
        registry,
        services.model_predictor,
        models_dir=settings.cards_dir,
        status_deadline_s=settings.health_deadline_s,
        golden_deadline_s=settings.model_deadline_s,
    )
    app.register_blueprint(create_health(readiness, jobs and jobs.collector))
    page_routes = pages.create_pages()
    problem_pages.register(page_routes)
    app.register_blueprint(page_routes)
    app.register_blueprint(create_playground(registry, services.image_loader, services.admission, settings))
    if settings.sagemaker:
        sagemaker.register(app)
    if settings.compatible_apis:
        importlib.import_module("gateway.protocols.routes").register(app, services.predictor, readiness, settings)
    return app


def register_access(app: Flask, settings: Settings) -> None:
    """Require keys and limit rates as the settings say.

    Raises:
        SettingsError: The API keys cannot be read, or the storage of the rate limits cannot be used.
    """
    if not settings.rate_limit:
        authentication.register(app, settings)
        return
    # Its import takes 2 MB and part of the start-up time.
    limits = importlib.import_module("gateway.access.rate_limits").make_rate_limits(settings)
    authentication.register(app, settings, count_refusal=limits.count_refusal)
    limits.register(app)


def _create_jobs(settings: Settings, services: Services) -> Any:
    """Return the parts of jobs.

    Raises:
        SettingsError: They need a package that is not installed.
    """
    try:
        return importlib.import_module("gateway.jobs.setup").create(settings, services)
    except ModuleNotFoundError as error:
        raise SettingsError(f"GATEWAY_JOBS={settings.jobs} needs the extra `jobs`: {INSTALL_EXTRA} jobs.") from error
