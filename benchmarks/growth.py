"""How cost grows: from a hundred jobs to a million, time and memory of each step by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Final

from benchmarks.bench import Bench
from benchmarks.processes import Cost
from benchmarks.stub_process import StubProcess

CHEAP: Final = 10_000
"""Up to this size a step is repeated."""
SENT_AT_MOST: Final = 100_000
"""A million sends take minutes each time; that they cost what a hundred thousand do is asked for by `--all-sends`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step at one size."""

    step: str
    jobs: int
    wall_s: float
    cpu_s: float
    peak_mib: float

    def as_json(self) -> dict[str, Any]:
        """Plain values, and what one job costs."""
        return {
            "step": self.step,
            "jobs": self.jobs,
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
            "peak_mib": self.peak_mib,
            "us_per_job": self.wall_s / self.jobs * 1e6,
            "kib_per_job": self.peak_mib * 1024 / self.jobs,
        }


def growth(bench: Bench, *, all_sends: bool = False) -> list[Point]:
    """Check, check and stage, and send (check, stage, send, results), each as a whole program."""
    sizes = [10**power for power in range(2, bench.pick(6, 3) + 1)]
    found: list[Point] = []
    with StubProcess() as stub:
        bench.send(stub, 10)
        for jobs in sizes:
            found.append(_point("check", jobs, partial(_checked, bench, jobs), bench))
            found.append(_point("stage", jobs, partial(_staged, bench, jobs), bench))
            if jobs <= SENT_AT_MOST or all_sends:
                found.append(_point("send", jobs, partial(_sent, bench, stub, jobs), bench))
    return found


def _point(step: str, jobs: int, once: Callable[[], Cost], bench: Bench) -> Point:
    costs = [once() for _ in range(bench.pick(3, 1) if jobs <= CHEAP else 1)]
    return Point(
        step=step,
        jobs=jobs,
        wall_s=median(cost.wall_s for cost in costs),
        cpu_s=median(cost.cpu_s for cost in costs),
        peak_mib=median(cost.peak_mib for cost in costs),
    )


def _checked(bench: Bench, jobs: int) -> Cost:
    return bench.driver("pass_over", "check", bench.jobs(jobs))


def _staged(bench: Bench, jobs: int) -> Cost:
    cost = bench.driver("pass_over", "stage", bench.jobs(jobs), bench.fresh(".ledger.db"))
    bench.clear()
    return cost


def _sent(bench: Bench, stub: StubProcess, jobs: int) -> Cost:
    return bench.send(stub, jobs).cost
