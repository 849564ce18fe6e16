"""What is written a column at a time is what would have been written a value at a time."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ledger.ledger_rows import HEADERS, MESSAGE, ORG, chunk, claim_all, invalid, job, jobs, result, sent, stage, start

from runner.ledger import parquet, results
from runner.ledger.columns import LATENCY, RESULT_COLUMNS
from runner.ledger.csvlines import csv_header, csv_lines
from runner.ledger.parquet import _rounded
from runner.ledger.results import export, read_results
from runner.ledger.store import Ledger
from runner.ledger.texts import integer_texts, latency_texts, time_texts
from runner.model import ATTRIBUTES, INT64_MAX, INT64_MIN, JobChunk, JobState, SendJob

FEW = settings(max_examples=60, deadline=None)
INTEGERS = st.none() | st.integers(INT64_MIN, INT64_MAX) | st.sampled_from([0, 1, 200, 201, INT64_MAX, INT64_MIN])
LATENCIES = (
    st.none()
    | st.floats(allow_nan=False)
    | st.floats(0, 1e5)
    # At and beside a tie, and with zeros at the end.
    | st.integers(0, 10**8).map(lambda n: n / 2000)
    | st.integers(0, 10**4).map(lambda n: n / 10)
)
TIMES = st.none() | st.integers(0, 4_102_444_800_000) | st.integers(1_795_356_187_000, 1_795_356_189_000)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
CELLS = (
    st.none()
    | TEXT
    | st.text(",\"\r\n a='", max_size=4)
    | st.sampled_from(["", "=1+1", "null", "a,b", '"', "\r", "\n"])
)


@FEW
@given(st.lists(INTEGERS))
def test_whole_numbers_are_written_as_str_writes_them(values: list[int | None]) -> None:
    assert list(integer_texts(values)) == [None if value is None else str(value) for value in values]


@settings(max_examples=300, deadline=None)
@given(st.lists(LATENCIES) | st.lists(st.floats(0, 1e13), min_size=1))
@example([0.0005, 1.0005, 2.5, 12.0, 12.30, 100.0, 0.0, 1e11, 99_999.9995])
@example([0.0005, 1e12 - 0.0004, 1e12, 1e15, 1e16, 1.5e300, -0.0, -0.0004])
@example([float("inf"), None, -1.0])
def test_latencies_are_rounded_and_written_as_python_does_it(values: list[float | None]) -> None:
    rounded = [None if value is None else round(value, 3) for value in values]
    assert list(latency_texts(values)) == [None if value is None else str(value) for value in rounded]
    assert [str(value) for value in _rounded(values).to_pylist()] == [str(value) for value in rounded]


@FEW
@given(st.lists(TIMES))
@example([-1, 0, 999, 1_000, None])
def test_times_are_written_in_utc_to_the_millisecond(values: list[int | None]) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    moments = [None if ms is None else epoch + timedelta(milliseconds=ms) for ms in values]
    assert list(time_texts(values)) == [
        None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for moment in moments
    ]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(INTEGERS, TIMES, LATENCIES, CELLS, CELLS), min_size=1), TEXT)
def test_csv_lines_are_those_of_the_csv_module(rows: list[tuple[Any, ...]], header: str) -> None:
    names = ["row", "finished_at", LATENCY, "messageName", header + "?"]
    expected = io.StringIO(newline="")
    lines = csv.writer(expected, lineterminator="\r\n")
    lines.writerow(names)
    for number, time, latency, *cells in rows:
        (moment,) = time_texts([time])
        lines.writerow([number, moment, None if latency is None else round(latency, 3), *cells])
    columns: list[Any] = list(zip(*rows, strict=True))
    assert csv_header(names) + csv_lines(names, columns) == expected.getvalue().encode()


def _text(value: object) -> str:
    return "" if value is None else str(value)


ROWS = st.lists(
    st.tuples(
        st.builds(
            SendJob,
            message_name=TEXT.filter(lambda name: "\x00" not in name),
            published_message_id=st.just(MESSAGE),
            contact_source_id=INTEGERS,
            external_system_reference_id=CELLS,
            pre_blocking_hours=st.none() | st.integers(0, 72),
            folder=CELLS,
        ),
        st.none() | st.tuples(CELLS, CELLS),
        st.booleans(),
    ),
    max_size=8,
    unique_by=lambda row: row[0].message_name,
)


@settings(max_examples=12, deadline=None)
@given(rows=ROWS, latency=LATENCIES)
def test_every_format_tells_the_same_of_every_row_whatever_it_holds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[SendJob, tuple[str, str] | None, bool]], latency: float
) -> None:
    """Against what was staged, with invalid rows between the others and a page of three rows."""
    folder = tmp_path_factory.mktemp("rows")
    bad = [number for number, row in enumerate(rows, 2) if row[2]]
    good = [(number, *row[:2]) for number, row in enumerate(rows, 2) if not row[2]]
    columns: dict[str, Any] = {name: [getattr(one, name) for _, one, _ in good] for name in ATTRIBUTES.values()}
    staged = JobChunk(
        rows=[number for number, _, _ in good],
        others=[None if others is None else json.dumps(others) for _, _, others in good],
        invalid=[invalid(number, name=f"\ud800{number}") for number in bad],
        **columns,
    )
    with Ledger.open(folder / "a.db", org=ORG) as ledger, pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "_PAGE_ROWS", 3)
        patch.setattr(results, "_FRAME_ROWS", 3)
        headers = {name: name for name in ATTRIBUTES}
        with ledger.staging(
            name="a", source="a", headers=HEADERS, other_columns=["store", "status"], attributes=headers, now_ms=1
        ) as staging:
            staging.add(staged)
            batch_id = staging.commit(digest="d")
        run_id = start(ledger, batch_id)
        ended = [result(claim, JobState.SENT, latency_ms=latency) for claim in claim_all(ledger, batch_id, run_id)]
        ledger.turn(run_id, results=ended, batch_id=batch_id, claim=0, now_ms=2)
        for suffix in ("csv", "jsonl", "parquet"):
            assert export(ledger, batch_id, folder / f"a.{suffix}") == len(rows)
        frame = read_results(ledger, batch_id)
    table = pq.read_table(folder / "a.parquet").to_pylist()
    lines = [json.loads(line) for line in (folder / "a.jsonl").read_bytes().split(b"\n") if line]
    with (folder / "a.csv").open(newline="", encoding="utf-8") as file:
        texts = list(csv.DictReader(file))
    expected = {}
    for number, one, others in good:
        store, status = others or (None, None)
        attributes = {name: getattr(one, attribute) for name, attribute in ATTRIBUTES.items()}
        attributes |= {"contactSourceId": _digits(one.contact_source_id)}
        attributes |= {"preBlockingHours": _digits(one.pre_blocking_hours)}
        rounded = None if latency is None else round(latency, 3)
        expected[number] = {"status": "sent", LATENCY: rounded, **attributes, "store": store, "status_file": status}
    for number in bad:
        attributes = {**dict.fromkeys(ATTRIBUTES), "messageName": f"\\ud800{number}", "contactSourceId": "1e5"}
        expected[number] = {"status": "invalid", LATENCY: None, **attributes, "store": "Köln", "status_file": None}
    assert [row["row"] for row in table] == [row["row"] for row in lines] == frame["row"].tolist() == sorted(expected)
    for name in ("status", LATENCY, *ATTRIBUTES, "store", "status_file"):
        wanted = [expected[number][name] for number in sorted(expected)]
        assert [row[name] for row in table] == wanted
        assert [row[name] for row in texts] == [_text(value) for value in wanted]
        assert [None if value != value else value for value in frame[name].astype(object)] == wanted  # noqa: PLR0124 - NaN
        if latency not in (float("inf"), float("-inf")):  # JSON has no such number
            assert [row[name] for row in lines] == wanted


def _digits(value: int | None) -> str | None:
    return None if value is None else str(value)


def test_parquet_row_groups_end_with_the_page_that_fills_them(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_PAGE_ROWS", 3)
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 5)
    batch_id = stage(ledger, chunk(jobs(*"abcdefgh"))).batch_id
    export(ledger, batch_id, tmp_path / "a.parquet")
    found = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert [found.row_group(place).num_rows for place in range(found.num_row_groups)] == [6, 2]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_exporting_text_loads_neither_pandas_nor_pyarrow_nor_numpy(ledger: Ledger, tmp_path: Path, suffix: str) -> None:
    batch_id = stage(ledger, chunk(jobs("a"))).batch_id
    code = (
        "import sys, pathlib\n"
        "from runner.ledger.store import Ledger\n"
        "from runner.ledger.results import export\n"
        f"with Ledger.open(pathlib.Path(sys.argv[1]), org={ORG!r}, read_only=True) as ledger:\n"
        f"    export(ledger, {batch_id}, pathlib.Path(sys.argv[2]))\n"
        "sys.exit(bool({'pandas', 'pyarrow', 'numpy', 'xlsxwriter'} & {*sys.modules}))\n"
    )
    command = [sys.executable, "-c", code, str(ledger.path), str(tmp_path / f"a.{suffix}")]
    assert subprocess.run(command, check=False).returncode == 0  # noqa: S603 # our own interpreter


def test_an_export_needs_no_more_memory_for_more_rows(ledger: Ledger, tmp_path: Path) -> None:
    few = stage(ledger, chunk([job(f"few {n}") for n in range(1_000)]), name="few.csv").batch_id
    many = stage(ledger, chunk([job(f"many {n}") for n in range(5_000)]), name="many.csv").batch_id

    def peak(batch_id: int) -> int:
        tracemalloc.start()
        try:
            export(ledger, batch_id, tmp_path / "a.csv")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(many)  # what is loaded and compiled once
    assert peak(many) < 1.5 * peak(few)  # would be near five if anything of a page were kept


def test_an_export_sees_what_a_run_has_recorded(ledger: Ledger, tmp_path: Path) -> None:
    """Read by the driver's own cursor, in the same transaction as all else."""
    batch_id = stage(ledger, chunk(jobs("a"))).batch_id
    run_id = start(ledger, batch_id)
    (claim,) = claim_all(ledger, batch_id, run_id)
    ledger.turn(run_id, results=[sent(claim)], batch_id=batch_id, claim=0, now_ms=2)
    export(ledger, batch_id, tmp_path / "a.csv")
    header, line = (tmp_path / "a.csv").read_text().splitlines()
    assert dict(zip(header.split(","), line.split(","), strict=True))["status"] == "sent"
    assert header.split(",")[: len(RESULT_COLUMNS)] == list(RESULT_COLUMNS)
