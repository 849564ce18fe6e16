"""Results tell of every row, in the file's order, in each format what the ledger holds."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger.ledger_rows import (
    HEADERS,
    MESSAGE,
    ORG,
    chunk,
    claim_all,
    in_doubt,
    invalid,
    job,
    jobs,
    rejected,
    sent,
    stage,
    start,
)

from runner.errors import LedgerError, OutputError
from runner.ledger import results
from runner.ledger.results import RESULT_COLUMNS, export, is_supported, read_results
from runner.ledger.store import Ledger
from runner.model import ATTRIBUTES, JobChunk, Scenario

FORMULA = '=HYPERLINK("http://x","y")'
FORMATS = [".csv", ".parquet", ".xlsx", ".jsonl"]
WHEN = 1_795_356_187_123


@pytest.fixture
def batch_id(ledger: Ledger) -> int:
    """Five rows: sent, rejected, in doubt, pending, invalid."""
    given_jobs = [
        job("s", contact_source_id=2**63 - 1, pre_blocking_hours=3),
        job(FORMULA, external_system_reference_id='a,"b"\r\nc\rd'),
        job("  NA ", contact_source_id=None),
        job("007"),
    ]
    batch = stage(ledger, chunk(given_jobs, bad=[invalid(6, scenario=Scenario.INVALID_MESSAGE_NAME)])).batch_id
    run_id = start(ledger, batch)
    s, r, d, p = claim_all(ledger, batch, run_id)
    outcomes = [
        sent(s, first_attempt_at=WHEN, finished_at=WHEN + 877, latency_ms=12.34567),
        rejected(r),
        in_doubt(d, http_status=None, latency_ms=None),
    ]
    ledger.turn(run_id, results=outcomes, batch_id=batch, claim=0, now_ms=3_000)
    ledger.release(run_id, job_ids=[p.job_id], now_ms=3_000)
    return batch


def read(path: Path) -> list[dict[str, Any]]:
    """The file's lines as they would be read by somebody else, '' and None alike."""
    match path.suffix:
        case ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
        case ".jsonl":
            return [json.loads(line) for line in path.read_text().splitlines()]
        case ".parquet":
            return list(pq.read_table(path).to_pylist())
        case _:
            rows = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
            names = next(rows)
            return [dict(zip(names, row, strict=True)) for row in rows]


def column(lines: list[dict[str, Any]], name: str) -> list[str]:
    return ["" if line[name] is None else str(line[name]) for line in lines]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_row_is_there_in_order_with_its_outcome_and_its_cells(
    ledger: Ledger, batch_id: int, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"out{suffix}"
    assert export(ledger, batch_id, path) == 5
    lines = read(path)
    assert tuple(lines[0]) == (*RESULT_COLUMNS, *ATTRIBUTES, "store")
    assert column(lines, "row") == ["2", "3", "4", "5", "6"]
    assert column(lines, "status") == ["sent", "rejected", "in_doubt", "pending", "invalid"]
    assert column(lines, "id") == ["4396816", "", "", "", ""]
    assert column(lines, "http_status") == ["201", "400", "", "", ""]
    assert column(lines, "attempts") == ["1", "1", "1", "0", ""]
    assert column(lines, "latency_ms") == ["12.346", "50.125", "", "", ""]
    assert column(lines, "scenario") == ["", "contact_source_not_found", "timed_out", "", "invalid_message_name"]
    assert column(lines, "messageName") == ["s", FORMULA, "  NA ", "007", "bad"]
    assert column(lines, "contactSourceId") == [str(2**63 - 1), "4000001", "", "4000001", "1e5"]
    assert column(lines, "publishedMessageId") == [MESSAGE] * 4 + [""]
    assert column(lines, "store") == ["Berlin"] * 4 + ["Köln"]
    assert "whole number" in lines[4]["message"]
    if suffix != ".parquet":
        assert column(lines, "first_attempt_at")[0] == "2026-11-22T14:03:07.123Z"
        assert column(lines, "finished_at") == ["2026-11-22T14:03:08.000Z", *["1970-01-01T00:00:02.050Z"] * 2, "", ""]
    reference = column(lines, "externalSystemReferenceId")[1]
    # A spreadsheet's reader turns line breaks into one kind.
    assert reference == 'a,"b"\r\nc\rd' or (suffix == ".xlsx" and 'a,"b"' in reference)


def test_cells_that_look_like_formulas_or_links_or_numbers_stay_text_in_a_spreadsheet(
    ledger: Ledger, tmp_path: Path
) -> None:
    names = [FORMULA, "=1+1", "https://example.com", "007", "1e5", "+1", "@x", "{=1}"]
    batch_id = stage(ledger, chunk(jobs(*names))).batch_id
    export(ledger, batch_id, tmp_path / "out.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "out.xlsx").active
    cells = [row[len(RESULT_COLUMNS) + 1] for row in sheet.iter_rows(min_row=2)]
    assert [cell.value for cell in cells] == names
    assert {cell.data_type for cell in cells} == {"s"}
    assert not any(cell.hyperlink for cell in cells)


def test_parquet_has_the_same_types_whatever_the_rows_hold(ledger: Ledger, batch_id: int, tmp_path: Path) -> None:
    empty = stage(ledger, chunk([], bad=[invalid(2)]), name="empty.csv").batch_id
    export(ledger, batch_id, tmp_path / "a.parquet")
    export(ledger, empty, tmp_path / "b.parquet")
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert schema.equals(pq.read_schema(tmp_path / "b.parquet"))
    kinds = {name: str(kind) for name, kind in zip(schema.names, schema.types, strict=True)}
    assert kinds["row"] == kinds["http_status"] == kinds["attempts"] == "int64"
    assert kinds["first_attempt_at"] == kinds["finished_at"] == "timestamp[ms, tz=UTC]"
    assert kinds["latency_ms"] == "double"
    assert {kinds[name] for name in (*ATTRIBUTES, "store", "id", "status")} == {"string"}


def test_a_frame_has_the_columns_of_an_export(ledger: Ledger, batch_id: int, tmp_path: Path) -> None:
    frame = read_results(ledger, batch_id)
    export(ledger, batch_id, tmp_path / "a.parquet")
    again = pd.read_parquet(tmp_path / "a.parquet")
    assert list(frame.columns) == list(again.columns)
    assert frame["row"].tolist() == [2, 3, 4, 5, 6]
    assert frame["first_attempt_at"].tolist()[:1] == again["first_attempt_at"].tolist()[:1]
    assert str(frame["first_attempt_at"].dtype) == "datetime64[ms, UTC]"
    assert frame["http_status"].isna().tolist() == [False, False, True, True, True]
    assert frame["status"].tolist() == again["status"].tolist()
    assert read_results(ledger, stage(ledger, chunk([]), name="none.csv").batch_id).empty


def test_columns_whose_names_are_taken_are_told_apart(ledger: Ledger, tmp_path: Path) -> None:
    others = ["status", "status_file", "row"]
    with ledger.staging(name="a", source="a", headers=others, other_columns=others, attributes={}, now_ms=1) as staging:
        rows = chunk(jobs("a"))
        staging.add(_with_others(rows, ["x", "y", "z"]))
        batch_id = staging.commit(digest="d")
    export(ledger, batch_id, tmp_path / "a.csv")
    (line,) = read(tmp_path / "a.csv")
    assert (line["status"], line["status_file_file"], line["status_file"], line["row_file"]) == (
        "pending",
        "x",
        "y",
        "z",
    )


def _with_others(rows: JobChunk, cells: list[str]) -> JobChunk:
    columns: dict[str, Any] = {name: getattr(rows, name) for name in ("rows", *ATTRIBUTES.values())}
    return JobChunk(**columns, others=[json.dumps(cells)] * len(rows.rows))


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a\r\nb", ",", '"', " ", "NA", "\ufeffx"])
def test_a_cell_that_a_csv_reader_could_misread_is_quoted(ledger: Ledger, tmp_path: Path, name: str) -> None:
    """By the csv module and by pandas, which takes a bare carriage return for the end of a line."""
    batch_id = stage(ledger, chunk(jobs(name, "next"))).batch_id
    export(ledger, batch_id, tmp_path / "a.csv")
    assert column(read(tmp_path / "a.csv"), "messageName") == [name, "next"]
    frame = pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)
    assert frame["messageName"].tolist() == [name, "next"]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=20)


@settings(max_examples=15, deadline=None)
@given(name=TEXT, other=TEXT)
def test_any_text_comes_back_from_csv_and_parquet_and_json(
    tmp_path_factory: pytest.TempPathFactory, name: str, other: str
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    with Ledger.open(folder / "a.db", org=ORG) as ledger:
        rows = chunk([job(name), job("plain")])
        with ledger.staging(
            name="a", source="a", headers=[*HEADERS, "store"], other_columns=["store"], attributes={}, now_ms=1
        ) as staging:
            staging.add(_with_others(rows, [other]))
            batch_id = staging.commit(digest="d")
        for suffix in (".csv", ".parquet", ".jsonl"):
            export(ledger, batch_id, folder / f"a{suffix}")
            lines = _json_lines(folder / f"a{suffix}") if suffix == ".jsonl" else read(folder / f"a{suffix}")
            assert [line["messageName"] for line in lines] == [name, "plain"]
            assert [line["store"] for line in lines] == [other, other]


def _json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_pages_leave_no_row_out_and_tell_how_far_they_are(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_PAGE_ROWS", 3)
    batch_id = stage(ledger, chunk(jobs(*"abcdef"), bad=[invalid(9)])).batch_id
    told: list[int] = []
    assert export(ledger, batch_id, tmp_path / "a.csv", on_page=told.append) == 7
    assert told == [3, 6, 7]
    assert column(read(tmp_path / "a.csv"), "row") == ["2", "3", "4", "5", "6", "7", "9"]
    assert len(read_results(ledger, batch_id)) == 7


def test_the_results_file_is_the_old_one_until_the_new_one_is_whole(
    ledger: Ledger, batch_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out" / "a.csv"
    path.parent.mkdir()
    path.write_text("old")

    def fails(*_: object, **__: object) -> Iterator[object]:
        yield from ()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger, "result_pages", fails)
    with pytest.raises(OutputError, match="No space left"):
        export(ledger, batch_id, path)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_the_results_file_keeps_its_permissions_and_its_link(ledger: Ledger, batch_id: int, tmp_path: Path) -> None:
    path, link = tmp_path / "a.csv", tmp_path / "link.csv"
    path.touch()
    path.chmod(0o640)
    link.symlink_to(path)
    export(ledger, batch_id, link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert len(read(path)) == 5


def test_the_results_file_gets_the_permissions_of_a_new_file(ledger: Ledger, batch_id: int, tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    export(ledger, batch_id, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("name", ["a.txt", "a", "missing/a.csv", "folder.csv", "pipe.csv"])
def test_the_results_file_that_cannot_be_written_is_an_error_of_ours(
    ledger: Ledger, batch_id: int, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(OutputError) as caught:
        export(ledger, batch_id, tmp_path / name)
    assert caught.value.remedy


def test_the_results_file_of_a_batch_that_is_not_there_is_not_made(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(LedgerError):
        export(ledger, 7, tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_more_rows_than_a_spreadsheet_holds_are_refused(
    ledger: Ledger, batch_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "SHEET_ROWS", 5)
    with pytest.raises(OutputError, match="4 rows"):
        export(ledger, batch_id, tmp_path / "a.xlsx")
    monkeypatch.setattr(results, "SHEET_ROWS", 6)
    assert export(ledger, batch_id, tmp_path / "a.XLSX") == 5


def test_the_formats_are_known_by_their_endings() -> None:
    assert all(is_supported(Path(f"a{suffix}")) and is_supported(Path(f"a{suffix.upper()}")) for suffix in FORMATS)
    assert not is_supported(Path("a.txt"))


def test_an_invalid_row_made_in_python_may_hold_what_no_file_can(ledger: Ledger, tmp_path: Path) -> None:
    batch_id = stage(ledger, chunk([], bad=[invalid(2, name="\ud800")])).batch_id
    for suffix in FORMATS:
        export(ledger, batch_id, tmp_path / f"a{suffix}")
        assert column(read(tmp_path / f"a{suffix}"), "messageName") == ["\\ud800"]
