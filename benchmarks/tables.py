"""Measurements of what goes over many rows without sending: check, staging, export."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from benchmarks.bench import LABEL, Bench
from benchmarks.processes import Cost
from benchmarks.rows import Row, Sample, in_turns, plain_row, ratio_row

PEAK_MIB = 300_000_000 / 2**20
"""The 300 MB of the target."""
FLAT = 1.1
"""Memory that is "the same" for ten times the rows may differ by a tenth: allocators do not repeat themselves."""


def check(bench: Bench) -> list[Row]:
    """`check` beside `pandas.read_csv`."""
    rows = bench.pick(1_000_000, 20_000)
    jobs = bench.jobs(rows)
    chunk_rows = bench.driver("pass_over", "chunk-rows").output.strip()
    bench.runner("check", jobs)  # both find the file in the page cache
    ours, theirs = in_turns(
        lambda: bench.runner("check", jobs),
        lambda: bench.python("read_chunks.py", jobs, chunk_rows),
        repeats=bench.pick(5, 1),
    )
    return [
        ratio_row(
            name="check-time",
            what=f"`check` of {rows:,} rows, whole program",
            against=f"`pandas.read_csv` in the same chunks ({int(chunk_rows):,} rows), nothing else, whole program",
            target=1.5,
            at_least=False,
            ours=_walls(LABEL, ours),
            theirs=_walls("read_csv", theirs),
            detail={
                "file, MiB": jobs.stat().st_size / 2**20,
                "CPU s": median(cost.cpu_s for cost in ours),
                "CPU s of read_csv": median(cost.cpu_s for cost in theirs),
                "peak memory of read_csv, MiB": median(cost.peak_mib for cost in theirs),
            },
        ),
        _peak(f"`check` of {rows:,} rows, peak memory", "check-memory", ours),
    ]


def check_ten_times(bench: Bench) -> list[Row]:
    """Does the memory of `check` grow with the file?"""
    small = bench.pick(1_000_000, 20_000)
    big = 10 * small
    files = bench.jobs(small), bench.jobs(big)
    tenfold, single = in_turns(
        lambda: bench.runner("check", files[1]), lambda: bench.runner("check", files[0]), repeats=bench.pick(2, 1)
    )
    if not bench.quick:
        files[1].unlink()  # more than a gigabyte
    return [
        _peak(f"`check` of {big:,} rows, peak memory", "check-memory-tenfold", tenfold),
        ratio_row(
            name="check-memory-growth",
            what=f"`check` of {big:,} rows, peak memory",
            against=f"the same with {small:,} rows",
            target=FLAT,
            at_least=False,
            ours=_peaks(f"{big:,} rows", tenfold),
            theirs=_peaks(f"{small:,} rows", single),
            detail={"time for ten times the rows, times": tenfold[0].wall_s / single[0].wall_s},
        ),
    ]


def stage(bench: Bench) -> list[Row]:
    """Checking and staging beside the check alone."""
    rows = bench.pick(1_000_000, 20_000)
    jobs = bench.jobs(rows)

    def staged() -> Cost:
        cost = bench.driver("pass_over", "stage", jobs, bench.fresh(".ledger.db"))
        bench.clear()
        return cost

    ours, theirs = in_turns(staged, lambda: bench.driver("pass_over", "check", jobs), repeats=bench.pick(5, 1))
    alone = [_part(bench, "insert", jobs, bench.fresh(".ledger.db")) for _ in range(bench.pick(3, 1))]
    bench.clear()
    return [
        ratio_row(
            name="stage-time",
            what=f"checking and staging {rows:,} rows, whole program",
            against="the check alone, whole program",
            target=1.5,
            at_least=False,
            ours=_walls("check and stage", ours),
            theirs=_walls("check", theirs),
            detail={
                "CPU s": median(cost.cpu_s for cost in ours),
                "CPU s of the check": median(cost.cpu_s for cost in theirs),
                "peak memory, MiB": median(cost.peak_mib for cost in ours),
                "inserting alone, the rows checked before, s": median(alone),
            },
        )
    ]


def export(bench: Bench) -> list[Row]:
    """`export` beside the frame's own writing."""
    rows = bench.pick(1_000_000, 20_000)
    big = settled_ledger(bench, rows=rows, done=rows)
    small = settled_ledger(bench, rows=rows // 10, done=rows // 10)
    config = bench.config(None)
    frame = bench.fresh(".parquet")
    bench.runner("export", frame, "--config", config, "--ledger", big)
    reading = median(_part(bench, "read", big) for _ in range(bench.pick(3, 1)))
    found: list[Row] = []
    for kind, peer in (("csv", "to_csv"), ("parquet", "to_parquet")):
        target = bench.fresh(f".{kind}")

        def ours(ledger: Path = big, target: Path = target) -> Cost:
            return bench.runner("export", target, "--config", config, "--ledger", ledger)

        def theirs(kind: str = kind, target: Path = target) -> float:
            return float(bench.python("write_frame.py", frame, kind, target).output.split()[0])

        costs, writing = in_turns(ours, theirs, repeats=bench.pick(3, 1))
        tenth = [ours(ledger=small) for _ in costs]
        found += [
            ratio_row(
                name=f"export-{kind}",
                what=f"`export` of {rows:,} results to {kind}, whole program",
                against=f"`DataFrame.{peer}` of the same frame, the writing alone",
                target=1.5,
                at_least=False,
                ours=_walls(LABEL, costs),
                theirs=Sample(label=peer, unit="s", values=tuple(writing)),
                detail={
                    "CPU s": median(cost.cpu_s for cost in costs),
                    "peak memory, MiB": median(cost.peak_mib for cost in costs),
                    "reading alone, nothing made of it, s": reading,
                },
            ),
            ratio_row(
                name=f"export-{kind}-memory",
                what=f"`export` of {rows:,} results to {kind}, peak memory",
                against=f"the same with {rows // 10:,}",
                target=FLAT,
                at_least=False,
                ours=_peaks(f"{rows:,} results", costs),
                theirs=_peaks(f"{rows // 10:,} results", tenth),
            ),
        ]
    bench.clear()
    return found


def settled_ledger(bench: Bench, *, rows: int, done: int) -> Path:
    """A ledger of `rows` jobs of which `done` are sent; goes with the next `clear`."""
    path = bench.fresh(".ledger.db")
    bench.driver("full_ledger", bench.jobs(rows), path, str(done))
    return path


def _part(bench: Bench, part: str, *paths: Path) -> float:
    """Seconds of one part by itself."""
    return float(bench.driver("parts", part, *paths).output)


def _peak(what: str, name: str, costs: list[Cost]) -> Row:
    peaks = [cost.peak_mib for cost in costs]
    return plain_row(
        name=name, what=what, target=PEAK_MIB, unit="MiB", values=peaks, label=LABEL, detail={"target": "300 MB"}
    )


def _walls(label: str, costs: list[Cost]) -> Sample:
    return Sample(label=label, unit="s", values=tuple(cost.wall_s for cost in costs))


def _peaks(label: str, costs: list[Cost]) -> Sample:
    return Sample(label=label, unit="MiB", values=tuple(cost.peak_mib for cost in costs))
