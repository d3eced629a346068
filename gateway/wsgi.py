"""What gunicorn imports in each worker: `gunicorn -c gateway/gunicorn_conf.py gateway.wsgi:app`."""

import atexit
import os

from gateway.app import connect, create_app, make_fetcher, make_offers
from gateway.logs import configure
from gateway.settings import Settings

settings = Settings.from_env(os.environ)
configure(level=settings.log_level, as_json=settings.log_json)
app = create_app(settings, server=connect(settings), fetcher=make_fetcher(settings), offered=make_offers(settings))
catalog = app.extensions["catalog"]
catalog.watch(settings.models_poll_s, deadline_s=settings.model_deadline_s)
atexit.register(catalog.close)
