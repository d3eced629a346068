"""One stream of log lines: the application's, its libraries' and gunicorn's, in the same form."""

import logging.config
import sys
from typing import Any

import structlog
from structlog.typing import Processor

# Local variables hold people's pictures, and URLs with their passwords.
WITHOUT_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
LOGGERS = ("gunicorn.error", "werkzeug")


class StderrLogger(structlog.WriteLogger):
    """Writes lines as they are, each by one call.

    Args:
        name: Name of the module that logs.
    """

    def __init__(self, name: str) -> None:
        super().__init__(sys.stderr)
        self.name = name


def _facts() -> list[Processor]:
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
    """Give the configuration for `logging.config.dictConfig`, which gunicorn takes too.

    Args:
        level: Least severe level written: debug, info, warning or error.
        as_json: One JSON object a line; otherwise text for people.
    """
    only_facts = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "one": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _facts(),
                "processors": [only_facts, *_renderers(as_json=as_json)],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "one", "stream": "ext://sys.stderr"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            **{name: {"level": level.upper(), "handlers": [], "propagate": True} for name in LOGGERS},
            # It tells URLs whole, query and all: at debug, and of malformed answers as warnings.
            "urllib3": {"level": "CRITICAL", "handlers": [], "propagate": False},
        },
    }


def configure(*, level: str, as_json: bool) -> None:
    """Set up logging for this process; see `logging_config`.

    Our own lines do not pass through the standard library's logging, which would take half of their time.
    """
    logging.config.dictConfig(logging_config(level=level, as_json=as_json))
    structlog.configure(
        processors=[*_facts(), *_renderers(as_json=as_json)],
        logger_factory=StderrLogger,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
