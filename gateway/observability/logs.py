"""Logging of the application, its libraries and gunicorn, as one stream of lines in the same form."""

import functools
import io
import logging.config
import time
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor

from gateway.observability.log_stream import LOG

# Local variables contain images of callers, and URLs with passwords.
WITHOUT_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
LOGGERS = ("gunicorn.error", "werkzeug")


class StderrLogger:
    """Writes each line with one call, without a lock, which a fork could leave locked.

    Args:
        name: Name of the logging module.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def msg(self, message: str) -> None:
        """Write a line."""
        LOG.write(message + "\n")

    log = debug = info = warning = error = critical = msg


def _context_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _add_timestamp,
    ]


def _add_timestamp(_: Any, __: str, event: EventDict) -> EventDict:
    """Add the time in UTC with milliseconds, as RFC 3339 writes it; a second's text is made once."""
    second, millisecond = divmod(time.time_ns() // 1_000_000, 1000)
    event["timestamp"] = f"{_format_second(second)}.{millisecond:03}Z"
    return event


@functools.lru_cache(maxsize=1)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _renderers(*, as_json: bool) -> list[Processor]:
    if as_json:
        return [structlog.processors.ExceptionRenderer(WITHOUT_LOCALS), structlog.processors.JSONRenderer()]
    return [_escape_values, structlog.dev.ConsoleRenderer(exception_formatter=_write_traceback)]


def _escape_values(_: Any, __: str, event: EventDict) -> EventDict:
    return {name: escape_controls(value) if isinstance(value, str) else value for name, value in event.items()}


def escape_controls(text: str) -> str:
    """Return a text for a terminal, without characters that control it or begin a line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _write_traceback(stream: TextIO, exception: ExcInfo) -> None:
    """Write an indented traceback, whose lines cannot be taken for lines of the log."""
    buffer = io.StringIO()
    structlog.dev.plain_traceback(buffer, exception)
    stream.write("\n    ".join(map(escape_controls, buffer.getvalue().split("\n"))))


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
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "one",
                "stream": "ext://gateway.observability.log_stream.LOG",
            }
        },
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


def log_stray_output(text: str, size: int) -> None:
    """Log, at every level, what was printed outside of the log.

    Args:
        text: The end of it.
        size: How many bytes were printed.
    """
    logger = structlog.wrap_logger(StderrLogger("stderr"), wrapper_class=structlog.BoundLogger)
    logger.warning("stderr", text=text, bytes=size)
