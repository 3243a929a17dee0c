"""Structured logs: each line carries its stream's id, and facts are fields rather than part of the text."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from posewire_server.config import LogFormat, LogLevel
from posewire_server.observability.log_writer import LogWriter

__all__ = ["current_stream", "facts", "set_up_logging"]

current_stream: ContextVar[str] = ContextVar("current_stream", default="")
"""Id of the stream that the current task belongs to; set by its handler, inherited by the tasks it starts."""

_FACTS = "posewire_facts"
_GRPC = "grpc._cython.cygrpc"
_GRPC_LINE_EVERY_S = 10.0


def facts(**values: Any) -> dict[str, Any]:
    """Fields of a log line, for `extra`: `log.info("stream opened", extra=facts(codec="jpeg"))`."""
    return {_FACTS: values}


def set_up_logging(level: LogLevel, log_format: LogFormat) -> None:
    """Send all logs to standard error. Call it once, at startup."""
    if log_format is LogFormat.AUTO:
        is_watched = sys.stderr is not None and sys.stderr.isatty()
        log_format = LogFormat.HUMAN if is_watched else LogFormat.JSON
    handler: logging.Handler = logging.NullHandler() if sys.stderr is None else LogWriter(sys.stderr.fileno())
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else HumanFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger(_GRPC).addFilter(SeldomFilter(_GRPC_LINE_EVERY_S))


class SeldomFilter(logging.Filter):
    """Lets one line pass every `every_s` seconds, with the number of lines suppressed since the previous one.

    For gRPC's lines: anyone who can reach the port can cause several of them, with tracebacks, per call.

    Args:
        every_s: interval in seconds.
        clock: seconds; a test's own.
    """

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s, self._clock = every_s, clock
        self._passed_s: float | None = None
        self._unlogged = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        now = self._clock()
        if self._passed_s is not None and now - self._passed_s < self._every_s:
            self._unlogged += 1
            return False
        if self._unlogged:
            vars(record).update(facts(unlogged=self._unlogged))
        self._passed_s, self._unlogged = now, 0
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class HumanFormatter(logging.Formatter):
    """For a terminal: time, level, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        # Clients choose some of the values: `repr` keeps control characters off the terminal.
        fields = " ".join(f"{name}={_plain(value)!r}" for name, value in _fields(record).items())
        text = f"{time} {record.levelname:<7} {record.getMessage()}" + (f"  {fields}" if fields else "")
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    stream = current_stream.get()
    given: dict[str, Any] = getattr(record, _FACTS, {})
    return {"stream": stream, **given} if stream else given
