"""The WSGI application, imported in each worker: `gunicorn -c gateway/gunicorn_conf.py gateway.wsgi:app`."""

import atexit
import os
import sys

import structlog

from gateway.app import create_app
from gateway.observability.logs import configure
from gateway.runtime import refusals
from gateway.services import connect, load_tracing, make_configured_models, make_fetcher
from gateway.settings import Settings, SettingsError

APP_LOAD_ERROR = 4
"""Exit status of a worker after which gunicorn stops, instead of starting workers that fail as well."""

settings = Settings.from_env(os.environ)
configure(level=settings.log_level, as_json=settings.log_json)
try:
    tracing = load_tracing() if settings.tracing else None
    if tracing is not None:
        tracing.start()
    app = create_app(
        settings,
        server=connect(settings),
        fetcher=make_fetcher(settings),
        configured_models=make_configured_models(settings),
    )
except SettingsError as error:
    structlog.get_logger(__name__).critical("start_failed", reason=str(error))
    sys.exit(APP_LOAD_ERROR)
refusals.register(app)
if tracing is not None:
    tracing.instrument(app)
registry = app.extensions["registry"]
registry.watch(settings.models_poll_s, deadline_s=settings.model_deadline_s)
atexit.register(registry.close)
