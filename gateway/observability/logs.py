"""Logging of the application, its libraries and gunicorn, as one stream of lines in the same form."""

import logging.config
import sys
from typing import Any

import structlog
from structlog.typing import Processor

# Local variables contain images of callers, and URLs with passwords.
WITHOUT_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
LOGGERS = ("gunicorn.error", "werkzeug")


class StderrLogger(structlog.WriteLogger):
    """Writes each line with one call.

    Args:
        name: Name of the logging module.
    """

    def __init__(self, name: str) -> None:
        super().__init__(sys.stderr)
        self.name = name


def _context_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _renderers(*, as_json: bool) -> list[Processor]:
    if as_json:
        return [structlog.processors.ExceptionRenderer(WITHOUT_LOCALS), structlog.processors.JSONRenderer()]
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def logging_config(*, level: str, as_json: bool) -> dict[str, Any]:
    """Return a configuration for `logging.config.dictConfig`, which gunicorn accepts too.

    Args:
        level: Minimum level that is logged: debug, info, warning or error.
        as_json: Whether each line is a JSON object; otherwise it is text for people.
    """
    remove_metadata = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "one": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _context_processors(),
                "processors": [remove_metadata, *_renderers(as_json=as_json)],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "one", "stream": "ext://sys.stderr"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            **{name: {"level": level.upper(), "handlers": [], "propagate": True} for name in LOGGERS},
            # It logs whole URLs with their query: at debug level, and in warnings about malformed answers.
            "urllib3": {"level": "CRITICAL", "handlers": [], "propagate": False},
        },
    }


def configure(*, level: str, as_json: bool) -> None:
    """Set up logging for this process; see `logging_config`.

    The gateway's own lines bypass the logging of the standard library, which takes half of their time.
    """
    logging.config.dictConfig(logging_config(level=level, as_json=as_json))
    structlog.configure(
        processors=[*_context_processors(), *_renderers(as_json=as_json)],
        logger_factory=StderrLogger,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
