"""The way of Python's own `logging` into the log."""

from __future__ import annotations

import logging

from switchboard.telemetry.logs import LEVELS, Log


class Handler(logging.Handler):
    """Brings the messages of Python's `logging` into the log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        level = record.levelname if record.levelname in LEVELS else "ERROR"
        self._log.say(level, message, record.name)


def attach(log: Log, level: str) -> Handler:
    """Send the messages of `logging` to `log`; libraries speak up from WARNING on."""
    handler = Handler(log)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("switchboard").setLevel(LEVELS[level])
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # what it says of a form, its sender is told
    return handler
