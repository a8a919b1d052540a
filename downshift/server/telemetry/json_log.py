"""The server's own log as JSON lines, each with the id of the request it is about."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import orjson


class JsonFormatter(logging.Formatter):
    """One line of JSON a record: time, level, logger, message, request_id, error (its traceback)."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", None),
            "error": self.formatException(record.exc_info) if record.exc_info else None,
        }
        present = {name: str(value) for name, value in fields.items() if value is not None}
        try:
            return orjson.dumps(present).decode()
        except TypeError:  # a text that is not UTF-8, such as the name of a file
            plain = {name: value.encode("utf-8", "backslashreplace") for name, value in present.items()}
            return orjson.dumps({name: value.decode() for name, value in plain.items()}).decode()


def log_as_json() -> logging.Handler:
    """Write warnings and worse of the whole process to standard error as JSON lines, from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # another server may have set them up
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    return handler
