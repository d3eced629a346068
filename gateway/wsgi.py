"""What gunicorn imports in each worker: `gunicorn -c gateway/gunicorn_conf.py gateway.wsgi:app`."""

import atexit
import os

from gateway.app import connect, create_app, load_tracing, make_fetcher, make_offers
from gateway.observability.logs import configure
from gateway.settings import Settings

settings = Settings.from_env(os.environ)
configure(level=settings.log_level, as_json=settings.log_json)
tracing = load_tracing() if settings.tracing else None
fetcher = make_fetcher(settings)
if tracing is not None:
    tracing.start()
    fetcher = tracing.TracedFetcher(fetcher)
app = create_app(settings, server=connect(settings), fetcher=fetcher, offered=make_offers(settings))
if tracing is not None:
    tracing.instrument(app)
catalog = app.extensions["catalog"]
catalog.watch(settings.models_poll_s, deadline_s=settings.model_deadline_s)
atexit.register(catalog.close)
