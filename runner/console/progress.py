"""A run while it goes on: a bar on a terminal, one line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from threading import Event, Thread
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live as LiveDisplay
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runner.batch.run import Live
from runner.console.screen import duration

REFRESHES_PER_S: Final = 5
LINE_EVERY_S: Final = 5.0
RATE_OVER_S: Final = 30.0
"""The rate is that of so many last seconds, so that it follows a slow-down."""


class Rate:
    """Jobs a second over the last `RATE_OVER_S`."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def of(self, settled: int, now: float) -> float:
        """The rate at `now`, when `settled` jobs have an outcome."""
        self._seen.append((now, settled))
        while len(self._seen) > 2 and self._seen[1][0] <= now - RATE_OVER_S:  # noqa: PLR2004 - two points make a rate
            self._seen.pop(0)
        since, before = self._seen[0]
        return (settled - before) / (now - since) if now > since else 0.0


@contextlib.contextmanager
def watched(live: Live, console: Console, *, limit: int | None) -> Iterator[None]:
    """Show `live` on `console` while the block runs, from a thread of its own."""
    rate = Rate()
    rate.of(0, time.monotonic())
    if console.is_terminal:
        with LiveDisplay(
            get_renderable=lambda: draw(live, limit, rate, now=time.monotonic()),
            console=console,
            refresh_per_second=REFRESHES_PER_S,
        ):
            yield
        return
    over = Event()

    def lines() -> None:
        while not over.wait(LINE_EVERY_S):
            console.print(line(live, limit, rate, now=time.monotonic()), soft_wrap=True)

    thread = Thread(target=lines, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def draw(live: Live, limit: int | None, rate: Rate, *, now: float) -> RenderableType:
    """Two lines: the bar with rate and time left; counts by state and requests in flight."""
    done, total = live.progress.settled, _to_do(live, limit)
    speed = rate.of(done, now)
    row = Table.grid(padding=(0, 1))
    row.add_row(
        ProgressBar(total=max(total, 1), completed=done, width=30),
        f"{done:,} of {total:,}",
        f"{speed:.1f}/s",
        _left(total, done, speed),
    )
    return Group(row, Text(describe(live)))


def line(live: Live, limit: int | None, rate: Rate, *, now: float) -> str:
    """The same on one line."""
    done, total = live.progress.settled, _to_do(live, limit)
    speed = rate.of(done, now)
    return f"{done:,} of {total:,}: {describe(live)}; {speed:.1f}/s {_left(total, done, speed)}".rstrip()


def describe(live: Live) -> str:
    """Counts by state and requests in flight."""
    run = live.progress
    parts = [f"{run.sent:,} sent"]
    parts += [f"{run.rejected:,} rejected"] if run.rejected else []
    parts += [f"{run.in_doubt:,} in doubt"] if run.in_doubt else []
    parts += [f"{run.waiting:,} waiting"] if run.waiting else []
    if live.slots is not None:
        parts.append(f"{live.slots.in_use} in flight")
    return ", ".join(parts)


def _to_do(live: Live, limit: int | None) -> int:
    before = live.before
    todo = before.pending + before.in_doubt if before is not None else 0
    return todo if limit is None else min(todo, limit)


def _left(todo: int, settled: int, rate: float) -> str:
    return f"{duration((todo - settled) / rate)} left" if rate > 0 and settled < todo else ""
