"""What a measurement yields: rows that name a target and what was reached, and the values they were made of.

A machine that others use as well is faster in one minute than in the next, so the two sides of a comparison take
turns, and a ratio is the median of the ratios of neighbouring runs, not the ratio of two medians: what slows both of a
pair cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, TypeVar

Mine = TypeVar("Mine")
Other = TypeVar("Other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One side's values, in the order they were measured."""

    label: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    name: str
    """Stable, for tools."""
    what: str
    against: str
    """Empty: the target is a plain number."""
    target: float
    at_least: bool
    """Whether more is better; else the target is the most it may be."""
    reached: float
    unit: str
    """Of target and reached: x, s, MiB."""
    lowest: float
    highest: float
    ours: Sample
    theirs: Sample | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    """More that was seen on the way, by a readable name; the page shows it beside the row."""

    @property
    def met(self) -> bool:
        """Whether the target was reached."""
        return self.reached >= self.target if self.at_least else self.reached <= self.target

    def as_json(self) -> dict[str, Any]:
        """Plain values, the verdict and medians included."""
        found = asdict(self) | {"met": self.met}
        for side, sample in (("ours", self.ours), ("theirs", self.theirs)):
            if sample is not None:
                found[side]["median"] = sample.median
        return found


def in_turns(ours: Callable[[], Mine], theirs: Callable[[], Other], *, repeats: int) -> tuple[list[Mine], list[Other]]:
    """Run the two by turns; the values of each."""
    mine: list[Mine] = []
    others: list[Other] = []
    for _ in range(repeats):
        mine.append(ours())
        others.append(theirs())
    return mine, others


def ratio_row(
    *,
    name: str,
    what: str,
    against: str,
    target: float,
    at_least: bool,
    ours: Sample,
    theirs: Sample,
    detail: dict[str, Any] | None = None,
) -> Row:
    """A row of the ratio ours / theirs, pair by pair."""
    ratios = [mine / other for mine, other in zip(ours.values, theirs.values, strict=True)]
    return Row(
        name=name,
        what=what,
        against=against,
        target=target,
        at_least=at_least,
        reached=median(ratios),
        unit="x",
        lowest=min(ratios),
        highest=max(ratios),
        ours=ours,
        theirs=theirs,
        detail=detail or {},
    )


def plain_row(
    *, name: str, what: str, target: float, unit: str, values: Sequence[float], label: str, detail: dict[str, Any]
) -> Row:
    """A row of a number that may be at most `target`."""
    return Row(
        name=name,
        what=what,
        against="",
        target=target,
        at_least=False,
        reached=median(values),
        unit=unit,
        lowest=min(values),
        highest=max(values),
        ours=Sample(label=label, unit=unit, values=tuple(values)),
        detail=detail,
    )
