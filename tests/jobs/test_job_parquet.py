"""Parquet files: every type that can mean an attribute, and nothing lost on the way."""

from __future__ import annotations

import hashlib
import json
import uuid
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs.job_checking import MESSAGE, NOW, Checked

from runner.errors import JobFileError
from runner.jobs.checks import CheckRules, FileCheck

BERLIN = "Europe/Berlin"


def check(folder: Path, columns: dict[str, Any], *, row_group: int = 1000, **rules: Any) -> Checked:
    count = max(len(column) for column in columns.values())
    whole = {"publishedMessageId": pa.array([MESSAGE] * count), "messageName": [f"n{i}" for i in range(count)]}
    path = folder / "jobs.parquet"
    pq.write_table(pa.table(whole | columns), path, row_group_size=row_group)
    return Checked(FileCheck(path, rules=CheckRules(now=NOW, **rules)))


def attribute(folder: Path, name: str, column: Any) -> tuple[list[Any], list[str]]:
    """The values that arrived, and the codes of the problems; blank contact sources are allowed."""
    checked = check(folder, {name: column}, allow_default_audience=True, allow_repeat_audience=True)
    field = {"contactSourceId": "contact_source_id", "scheduledDate": "scheduled_date", "messageName": "message_name"}
    return [getattr(job, field[name]) for job in checked.jobs], [problem.code for problem in checked.problems]


@pytest.mark.parametrize(
    ("column", "expected", "codes"),
    [
        (pa.array([1, 2**63 - 1, None], pa.int64()), [1, 2**63 - 1, None], []),
        (pa.array([7], pa.int8()), [7], []),
        (pa.array([2**64 - 1, 5], pa.uint64()), [5], ["contact_source_out_of_range"]),
        (pa.array([-1], pa.int64()), [], ["contact_source_out_of_range"]),
        (pa.array(["12", "1e5"], pa.string()), [12], ["number_scientific"]),
        (pa.array(["12", None], pa.large_string()), [12, None], []),
        (pa.array(["12", "12", None]).dictionary_encode(), [12, 12, None], []),
        (pa.array([12.0, 2.0**53 - 1, None]), [12, 2**53 - 1, None], []),
        (pa.array([12.5, 2.0**53, float("nan")]), [], ["number_fraction", "number_fraction", "not_a_number"]),
        (pa.array([Decimal("12.00"), Decimal("1.50"), None], pa.decimal128(20, 2)), [12, None], ["number_fraction"]),
        (pa.array([Decimal(2**63 - 1)], pa.decimal128(38, 0)), [2**63 - 1], []),
        (pa.array([True]), [], ["not_a_number"]),
    ],
)
def test_numbers_of_any_type_are_exact_or_a_problem(
    tmp_path: Path, column: Any, expected: list[int], codes: list[str]
) -> None:
    assert attribute(tmp_path, "contactSourceId", column) == (expected, codes)


WALL = datetime(2031, 7, 4, 9, 0, 0, 250_000)  # noqa: DTZ001 - a wall-clock time is what is tested


@pytest.mark.parametrize(
    ("column", "expected", "codes"),
    [
        (pa.array([WALL, None], pa.timestamp("ms", tz="UTC")), ["2031-07-04T09:00:00.250+00:00", None], []),
        (pa.array([WALL], pa.timestamp("us", tz=BERLIN)), ["2031-07-04T11:00:00.250+02:00"], []),
        (pa.array([WALL], pa.timestamp("ns", tz="-03:30")), ["2031-07-04T05:30:00.250-03:30"], []),
        (pa.array([WALL.replace(microsecond=250_001)], pa.timestamp("us", tz="UTC")), [], ["date_too_precise"]),
        (pa.array([WALL], pa.timestamp("ms")), [], ["date_without_offset"]),
        (pa.array([date(2031, 7, 4)], pa.date32()), [], ["date_without_time"]),
        (pa.array(["2031-07-04T09:00:00Z"]), ["2031-07-04T09:00:00.000+00:00"], []),
    ],
)
def test_dates_of_any_type_arrive_as_documented(
    tmp_path: Path, column: Any, expected: list[str], codes: list[str]
) -> None:
    assert attribute(tmp_path, "scheduledDate", column) == (expected, codes)


def test_names_are_kept_as_they_are(tmp_path: Path) -> None:
    names = ["NA", " x ", "é😀", "a\nb", "null"]
    for column in (pa.array(names), pa.array(names, pa.large_string()), pa.array(names).dictionary_encode()):
        assert attribute(tmp_path, "messageName", column) == (names, [])
    assert attribute(tmp_path, "messageName", pa.array([7, 8])) == (["7", "8"], [])
    assert attribute(tmp_path, "messageName", pa.array(["x", None, "a\0"])) == (
        ["x"],
        ["blank_required", "nul_character"],
    )


def test_rows_count_from_one_across_row_groups(tmp_path: Path) -> None:
    ids = pa.array([5 if i % 4 else -5 for i in range(25)])
    checked = check(tmp_path, {"contactSourceId": ids}, row_group=7, chunk_rows=3)
    assert sorted(checked.rows + [row.row for row in checked.invalid]) == list(range(1, 26))
    assert [row.row for row in checked.invalid] == [1, 5, 9, 13, 17, 21, 25]
    assert checked.check.kind == "parquet"
    assert checked.check.rows == 25
    assert checked.check.digest == hashlib.sha256((tmp_path / "jobs.parquet").read_bytes()).hexdigest()


def test_other_columns_are_carried_as_text(tmp_path: Path) -> None:
    columns = {
        "store": pa.array(["a", None, 'q"']),
        "number": pa.array([1, 2, None]),
        "share": pa.array([1.0, 0.1, None]),
        "price": pa.array([Decimal("1.50"), None, Decimal("2.00")]),
        "flag": pa.array([True, None, False]),
        "list": pa.array([[1, 2], [], None]),
        "raw": pa.array([b"ok", b"\xff", None]),
        "day": pa.array([date(2031, 7, 4), None, None]),
    }
    checked = check(tmp_path, columns)
    assert [json.loads(text or "") for text in checked.others] == [
        ["a", "1", "1.0", "1.50", "true", "[1, 2]", "b'ok'", "2031-07-04"],
        ["", "2", "0.1", "", "", "[]", "b'\\xff'", ""],
        ['q"', "", "", "2.00", "false", "", "", ""],
    ]


def test_a_message_id_may_be_stored_as_a_uuid(tmp_path: Path) -> None:
    stored = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(MESSAGE).bytes], pa.binary(16)))
    (job,) = check(tmp_path, {"publishedMessageId": stored}).jobs
    assert job.published_message_id == MESSAGE


@pytest.mark.parametrize("column", [pa.array([[1]]), pa.array([b"x"]), pa.array([{"a": 1}])])
def test_types_that_are_no_text_of_an_attribute_are_refused(tmp_path: Path, column: Any) -> None:
    with pytest.raises(JobFileError, match="type"):
        check(tmp_path, {"folder": column})


def test_damage_is_found_whatever_byte_it_hits(tmp_path: Path) -> None:
    check(tmp_path, {"contactSourceId": pa.array(range(1, 200))}, row_group=50)
    whole = (tmp_path / "jobs.parquet").read_bytes()
    path = tmp_path / "damaged.parquet"
    for place in range(0, len(whole), 61):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(JobFileError):
            Checked(FileCheck(path, rules=CheckRules(now=NOW)))
    for end in range(4, len(whole), 211):
        path.write_bytes(whole[:end])
        with pytest.raises(JobFileError):
            FileCheck(path, rules=CheckRules(now=NOW))


def test_no_rows_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match="no rows"):
        check(tmp_path, {"publishedMessageId": pa.array([], pa.string()), "messageName": pa.array([], pa.string())})


def test_a_text_repeated_from_a_dictionary_is_not_unfolded_at_once(tmp_path: Path) -> None:
    """A megabyte in every row would be gigabytes; the rows come in small parts instead."""
    note = pa.array(["x" * 2**20]).dictionary_encode()
    notes = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), note.dictionary)
    path = tmp_path / "jobs.parquet"
    pq.write_table(
        pa.table({"publishedMessageId": [MESSAGE] * 100, "messageName": [str(i) for i in range(100)], "note": notes}),
        path,
    )
    sizes = [len(chunk.rows) for chunk in FileCheck(path, rules=CheckRules(now=NOW)).chunks()]
    assert sum(sizes) == 100
    assert max(sizes) <= 17
