"""Logs: structlog events on stderr, readable on a terminal and as JSON lines elsewhere. No event carries a secret."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Literal, TextIO, cast

import structlog

LogFormat = Literal["auto", "console", "json"]


def configure_logs(*, log_format: LogFormat = "auto", verbose: int = 0) -> None:
    """Set up logging for this process.

    Args:
        log_format: `auto` is `console` where stderr is a terminal, `json` elsewhere.
        verbose: 0 shows warnings and errors, 1 information as well, 2 everything.
    """
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    renderer: structlog.typing.Processor
    if as_json:
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _one_line,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_to_stderr,
        cache_logger_on_first_use=False,
    )


def _to_stderr(*_names: object) -> structlog.WriteLogger:
    """A logger on whatever stderr is now: a progress bar puts itself in its place, and lines must go above the bar."""
    return structlog.WriteLogger(cast("TextIO", _Unfailing(sys.stderr)))


class _Unfailing:
    """A stream whose reader may be gone and whose disk may be full: a run must not end for want of its log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _one_line(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Make what comes from files and answers safe for the terminal that shows the log."""
    from runner.console.screen import plain

    return {key: plain(value) if isinstance(value, str) else value for key, value in event.items()}
