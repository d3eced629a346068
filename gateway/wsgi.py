"""The WSGI application, imported in each worker: `gunicorn -c gateway/gunicorn_conf.py gateway.wsgi:app`."""

import atexit
import os

from gateway.app import create_app
from gateway.observability.logs import configure
from gateway.runtime import refusals
from gateway.services import connect, load_tracing, make_configured_models, make_fetcher
from gateway.settings import Settings

settings = Settings.from_env(os.environ)
configure(level=settings.log_level, as_json=settings.log_json)
tracing = load_tracing() if settings.tracing else None
if tracing is not None:
    tracing.start()
app = create_app(
    settings,
    server=connect(settings),
    fetcher=make_fetcher(settings),
    configured_models=make_configured_models(settings),
)
refusals.register(app)
if tracing is not None:
    tracing.instrument(app)
registry = app.extensions["registry"]
registry.watch(settings.models_poll_s, deadline_s=settings.model_deadline_s)
atexit.register(registry.close)
