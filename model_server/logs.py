"""The log of the server: one JSON object a line on standard error, with the fields of the gateway's log.

tensorflow_model_server logs text. Its messages are the same where tools or people look for them.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

_MAX_CAUSES = 10
"""Of one exception; they may lead to each other in a circle."""


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object: `timestamp`, `level`, `logger`, `event`, and `exception` for a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without its end."""
        time = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
        fields: dict[str, Any] = {
            "timestamp": f"{time.isoformat(timespec='milliseconds')}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", ""):
            fields["request_id"] = request_id
        if record.exc_info and record.exc_info[1]:
            fields["exception"] = _describe(record.exc_info[1])
        return json.dumps(fields, ensure_ascii=False)


def configure() -> None:
    """Log to standard error from level info on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO)


def _describe(error: BaseException) -> list[dict[str, Any]]:
    """Return an exception and those that led to it, the last one first."""
    errors: list[dict[str, Any]] = []
    cause: BaseException | None = error
    while cause is not None and len(errors) < _MAX_CAUSES:
        frames = traceback.extract_tb(cause.__traceback__)
        errors.append(
            {
                "exc_type": type(cause).__name__,
                "exc_value": str(cause),
                "frames": [
                    {"filename": frame.filename, "lineno": frame.lineno, "name": frame.name} for frame in frames
                ],
            }
        )
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return errors
