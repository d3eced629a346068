"""One stream of log lines: the application's, its libraries' and gunicorn's, in the same form."""

import contextlib
import logging.config
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let imports meanwhile find no module of that name, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # how the import system marks what is not to be had
    try:
        yield
    finally:
        del sys.modules[name]


# structlog imports rich wherever it is installed, here as a requirement of the client: a tenth of a worker's start, for
# coloured tracebacks that our logs do not have.
with _hidden("rich"):
    import structlog
    from structlog.typing import Processor

# Local variables hold people's pictures, and URLs with their passwords.
WITHOUT_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
LOGGERS = ("gunicorn.error", "werkzeug")


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def logging_config(*, level: str, as_json: bool) -> dict[str, Any]:
    """Give the configuration for `logging.config.dictConfig`, which gunicorn takes too.

    Args:
        level: Least severe level written: debug, info, warning or error.
        as_json: One JSON object a line; otherwise text for people.
    """
    renderer: list[Processor] = (
        [structlog.processors.ExceptionRenderer(WITHOUT_LOCALS), structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "one": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _shared_processors(),
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "one", "stream": "ext://sys.stderr"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            **{name: {"level": level.upper(), "handlers": [], "propagate": True} for name in LOGGERS},
            # gunicorn writes an access log whenever logging is configured; the application's own line knows more.
            "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
            # It tells URLs whole, query and all: at debug, and of malformed answers as warnings.
            "urllib3": {"level": "CRITICAL", "handlers": [], "propagate": False},
        },
    }


def configure(*, level: str, as_json: bool) -> None:
    """Set up logging for this process; see `logging_config`."""
    logging.config.dictConfig(logging_config(level=level, as_json=as_json))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
