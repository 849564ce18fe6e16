"""Measurements of sending: how full the slots are, what a send costs, how many a second, beside the peers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final

from benchmarks.bench import LABEL, Bench, Sending
from benchmarks.processes import NotMeasuredError, run
from benchmarks.rows import Row, Sample, in_turns, ratio_row
from benchmarks.stub_process import MESSAGES_PATH, StubProcess

LATENCY_MS: Final = 50.0
SLOTS: Final = 10
_RATE: Final = "sends/s"
_WRK_SCRIPT: Final = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"messageName":"spring sale 00000000","contactSourceId":40000000,"externalSystemName":"Campaign",' ..
  '"externalSystemReferenceId":"store/67e0e2a6/order/2a27ead5","scheduledDate":"2040-07-14T03:30:00.000+00:00",' ..
  '"preBlockingHours":38,"folder":"/Shared/SMS/2"}'
"""


def stub_rate(bench: Bench) -> list[Row]:
    """Is the stub ever what is measured? Its rate with wrk, beside the fastest of our clients."""
    script = bench.fresh(".lua")
    script.write_text(_WRK_SCRIPT, encoding="utf-8")
    seconds, jobs = bench.pick(5, 1), bench.pick(20_000, 1_000)
    with StubProcess() as stub:
        url = f"{stub.url}{MESSAGES_PATH}/92ed2607-383c-417b-9756-a407dbeece42/sendjobs"
        command = ["wrk", "--threads", "1", "--connections", str(SLOTS), "--duration", f"{seconds}s"]

        def load() -> float:
            stub.reset()
            output = run([*command, "--script", str(script), url], folder=bench.work).output
            rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
            if rate is None or "Non-2xx" in output:
                raise NotMeasuredError(f"wrk says: {output}")
            return float(rate[1])

        rates, bare = in_turns(load, lambda: bench.bare_loop(stub, jobs), repeats=bench.pick(5, 2))
    bench.clear()
    return [
        ratio_row(
            name="stub-rate",
            what="the stub's own rate under wrk, ten connections",
            against="the bare loop, the fastest of the clients here",
            target=4.0,
            at_least=True,
            ours=Sample(label="wrk", unit=_RATE, values=tuple(rates)),
            theirs=_rates("bare loop", bare),
        )
    ]


def slot_use(bench: Bench) -> list[Row]:
    """How full are the ten slots at a server that takes 50 ms for each send?"""
    jobs = bench.pick(5_000, 300)
    with StubProcess() as stub:
        bench.send(stub, 10)  # gets the token
        ours, bare = in_turns(
            lambda: bench.send(stub, jobs, latency_ms=LATENCY_MS),
            lambda: bench.bare_loop(stub, jobs, latency_ms=LATENCY_MS),
            repeats=bench.pick(3, 1),
        )
    for sending in ours:
        if sending.seen.most_under_way > SLOTS:
            raise NotMeasuredError(f"{sending.seen.most_under_way} sends at once")
    ideal = tuple(jobs / SLOTS * sending.seen.latency_ms / 1000 for sending in ours)
    return [
        ratio_row(
            name="slot-use",
            what=f"slot use: {jobs:,} jobs at {LATENCY_MS:g} ms server latency, ledger on, first send to last answer",
            against="jobs / 10 * latency",
            target=1.02,
            at_least=False,
            ours=Sample(label=LABEL, unit="s", values=tuple(s.seen.sending_s for s in ours)),
            theirs=Sample(label="jobs / 10 * latency", unit="s", values=ideal),
            detail={
                "latency as the stub measured it, ms": _median(ours, lambda s: s.seen.latency_ms),
                "against the nominal 50 ms, times": _median(ours, lambda s: s.seen.sending_s)
                / (jobs / SLOTS * LATENCY_MS / 1000),
                "whole program, start to exit, s": _median(ours, lambda s: s.cost.wall_s),
                "the bare loop in the same minutes, times": _median(
                    bare, lambda s: s.seen.sending_s / (jobs / SLOTS * s.seen.latency_ms / 1000)
                ),
                "most sends at once, counted by the stub": max(s.seen.most_under_way for s in ours),
            },
        )
    ]


def cost_of_promises(bench: Bench) -> list[Row]:
    """Processor time and throughput beside the bare loop.

    Both are run with few jobs and with many, and the processor time of the difference is what sends cost: starting
    Python, reading modules and opening a ledger cost the same however many jobs follow.
    """
    few, many = bench.pick(2_000, 200), bench.pick(22_000, 5_200)
    with StubProcess() as stub:
        bench.send(stub, 10)
        ours, bare = in_turns(
            lambda: (bench.send(stub, few), bench.send(stub, many)),
            lambda: (bench.bare_loop(stub, few), bench.bare_loop(stub, many)),
            repeats=bench.pick(7, 2),
        )
        layers = _layers(bench, stub, bench.pick(20_000, 500))
    _same_posts([big for _, big in ours], [big for _, big in bare])
    mine, others = ([big for _, big in side] for side in (ours, bare))
    return [
        ratio_row(
            name="cpu-per-send",
            what="CPU seconds per 1,000 sends, ledger on",
            against="a bare aiohttp + uvloop loop, ten workers, the same posts, no ledger",
            target=1.25,
            at_least=False,
            ours=Sample(label=LABEL, unit="CPU s", values=_cpu_per_1000(ours)),
            theirs=Sample(label="bare loop", unit="CPU s", values=_cpu_per_1000(bare)),
            detail={
                f"whole program with {many:,} jobs, CPU s": _median(mine, lambda s: s.cost.cpu_s),
                f"the bare loop's whole program with {many:,} jobs, CPU s": _median(others, lambda s: s.cost.cpu_s),
                "peak memory, MiB": _median(mine, lambda s: s.cost.peak_mib),
                "the bare loop's peak memory, MiB": _median(others, lambda s: s.cost.peak_mib),
                **layers,
            },
        ),
        _throughput("throughput-bare", mine, others, label="bare loop", against="the same bare loop", target=0.9),
    ]


def one_hour(bench: Bench) -> list[Row]:
    """Throughput beside what a developer writes in an hour."""
    jobs = bench.pick(20_000, 1_000)
    return _beside(
        bench,
        name="throughput-one-hour",
        peer=lambda stub: bench.one_hour(stub, jobs),
        jobs=jobs,
        label="one-hour script",
        against="what a developer writes in an hour (pandas, gather, Semaphore(10), results at the end)",
        target=2.0,
    )


def parallel_curl(bench: Bench) -> list[Row]:
    """Throughput beside GNU parallel and curl."""
    rows = bench.pick(1_000, 50)
    return _beside(
        bench,
        name="throughput-parallel",
        peer=lambda stub: bench.parallel_curl(stub, rows),
        jobs=bench.pick(10_000, 500),
        label="GNU parallel + curl",
        against="GNU parallel -j10 + curl",
        target=30.0,
    )


def newman(bench: Bench) -> list[Row]:
    """Throughput beside Newman."""
    rows = bench.pick(1_000, 50)
    return _beside(
        bench,
        name="throughput-newman",
        peer=lambda stub: bench.newman(stub, rows),
        jobs=bench.pick(10_000, 500),
        label="Newman",
        against="Newman with a CSV",
        target=30.0,
    )


def _layers(bench: Bench, stub: StubProcess, jobs: int) -> dict[str, float]:
    """Microseconds of processor time for one send, layer upon layer, each the median of some runs taken in turns."""
    names = ("post", "client", "loop", "ledger")
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(bench.pick(7, 1)):
        for name in names:
            stub.reset()
            path = [bench.fresh(".ledger.db")] if name == "ledger" else []
            seconds = float(bench.driver("layers", name, stub.url, bench.jobs(jobs), *path).output)
            if (sends := stub.seen().sends) != jobs:
                raise NotMeasuredError(f"{jobs} jobs, but {sends} sends came")
            found[name].append(seconds / jobs * 1e6)
            bench.clear()
    labels = ("one post by aiohttp", "+ the client", "+ the send loop", "+ the ledger")
    # Differences of neighbouring runs, for the same reason as ratios of them are taken (`rows`).
    added = (
        median(more - less for less, more in zip(found[inner], found[outer], strict=True))
        for inner, outer in itertools.pairwise(names)
    )
    own = (median(found[names[0]]), *added)
    return {f"a send by layers, {label}, µs": cost for label, cost in zip(labels, own, strict=True)}


def _beside(
    bench: Bench,
    *,
    name: str,
    peer: Callable[[StubProcess], Sending],
    jobs: int,
    label: str,
    against: str,
    target: float,
) -> list[Row]:
    with StubProcess() as stub:
        bench.send(stub, 10)
        ours, theirs = in_turns(lambda: bench.send(stub, jobs), lambda: peer(stub), repeats=bench.pick(5, 1))
    return [_throughput(name, ours, theirs, label=label, against=against, target=target)]


def _throughput(
    name: str, ours: Sequence[Sending], theirs: Sequence[Sending], *, label: str, against: str, target: float
) -> Row:
    """Rates while sending; those of the whole programs, start and results included, are told beside."""
    return ratio_row(
        name=name,
        what="throughput, zero-latency stub",
        against=against,
        target=target,
        at_least=True,
        ours=_rates(LABEL, ours),
        theirs=_rates(label, theirs),
        detail={
            f"whole programs, start to exit ({ours[0].jobs:,} and {theirs[0].jobs:,} jobs), times": median(
                (mine.jobs / mine.cost.wall_s) / (other.jobs / other.cost.wall_s)
                for mine, other in zip(ours, theirs, strict=True)
            ),
            f"whole program, {LABEL}, jobs/s": _median(ours, lambda s: s.jobs / s.cost.wall_s),
            f"whole program, {label}, jobs/s": _median(theirs, lambda s: s.jobs / s.cost.wall_s),
        },
    )


def _same_posts(ours: Sequence[Sending], theirs: Sequence[Sending]) -> None:
    sizes = {sending.seen.send_bytes for sending in (*ours, *theirs)}
    if len(sizes) > 1:
        raise NotMeasuredError(f"the two sides did not do the same posts: {sorted(sizes)} bytes")


def _cpu_per_1000(pairs: Sequence[tuple[Sending, Sending]]) -> tuple[float, ...]:
    found = tuple((big.cost.cpu_s - small.cost.cpu_s) / (big.jobs - small.jobs) * 1000 for small, big in pairs)
    if min(found) <= 0:
        # Less processor time for more jobs: a ratio of such numbers could pass any target.
        raise NotMeasuredError(f"too much else is going on to tell what a send costs: {found} CPU s per 1,000")
    return found


def _rates(label: str, sendings: Sequence[Sending]) -> Sample:
    return Sample(label=label, unit=_RATE, values=tuple(sending.seen.rate for sending in sendings))


def _median(sendings: Sequence[Sending], value: Callable[[Sending], Any]) -> float:
    return float(median(value(sending) for sending in sendings))
