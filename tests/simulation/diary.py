"""What happened in one seed: the trace that a failing seed is understood by, and the figures of all."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

import anyio


@dataclass(slots=True, kw_only=True)
class Figures:
    """What a simulation went through."""

    seeds: int = 0
    virtual_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    """Sums; those called "most …" are maxima."""

    def add(self, other: Figures) -> None:
        """Take in those of another seed."""
        self.seeds += other.seeds
        self.virtual_s += other.virtual_s
        for what, count in other.counts.items():
            self.counts[what] = max(self.counts[what], count) if what.startswith("most") else self.counts[what] + count

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        return f"{self.seeds} seeds, {self.virtual_s / 3600:.1f} virtual hours, {counts}"


class Diary:
    """Kept by all parts of one world."""

    def __init__(self) -> None:
        self.breaks: list[str] = []
        """Promises that were broken."""
        self.trace: deque[str] = deque(maxlen=400)
        self.figures = Figures(seeds=1)

    def broken(self, what: str) -> None:
        """A promise was broken."""
        self.breaks.append(what)
        self.trace.append(f"BROKEN: {what}")

    def tell(self, text: str) -> None:
        """Note an event."""
        self.trace.append(f"{anyio.current_time():12.3f} {text}")

    def count(self, what: str, by: int = 1) -> None:
        """Add to a figure."""
        self.figures.counts[what] += by
