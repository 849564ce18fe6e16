"""Rows go into the ledger many at a time, and are counted without memory for each."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger.ledger_rows import HEADERS, chunk, job, jobs, owned, stage

from runner.errors import LedgerError
from runner.ledger.inserts import NEW_JOB, into_jobs, into_rows
from runner.ledger.numbers import Numbers
from runner.ledger.schema import METADATA, PAYLOAD
from runner.ledger.store import Ledger
from runner.model import INT64_MAX, INT64_MIN, JobChunk

BATCH: Any = {"name": "a", "source": "a", "headers": HEADERS, "other_columns": ["store"], "attributes": {}, "now_ms": 1}


def _bare(*names: str, first: int = 2) -> JobChunk:
    """Jobs with nothing but what is required, from a file without other columns."""
    full = chunk([job(name, contact_source_id=None) for name in names], first=first)
    full.others[:] = [None] * len(names)
    return full


def test_columns_that_no_row_of_a_chunk_has_are_empty_whatever_the_chunks_around_them_have(ledger: Ledger) -> None:
    one, two, three = job("one", folder="f", pre_blocking_hours=0), job("two", contact_source_id=None), job("three")
    batch_id = stage(ledger, chunk([one]), _bare("two", first=3), chunk([three], first=4)).batch_id
    run_id = ledger.start_run(batch_id, settle_s=30, now_ms=1)
    claims = ledger.turn(run_id, results=[], batch_id=batch_id, claim=5, now_ms=1)
    assert [claim.job for claim in claims] == [one, two, three]
    with ledger._database.reading() as connection:
        others = connection.exec_driver_sql("SELECT others FROM rows ORDER BY row").scalars().all()
    assert others == ['["Berlin"]', None, '["Berlin"]']


def test_a_column_of_zeros_and_empty_texts_is_not_an_empty_one(ledger: Ledger) -> None:
    given_job = job("a", contact_source_id=0, pre_blocking_hours=0, external_system_name="")
    batch_id = stage(ledger, chunk([given_job])).batch_id
    run_id = ledger.start_run(batch_id, settle_s=30, now_ms=1)
    (claim,) = ledger.turn(run_id, results=[], batch_id=batch_id, claim=5, now_ms=1)
    assert claim.job == given_job


@pytest.mark.parametrize("count", [1, 127, 128, 129, 256, 300])
def test_any_number_of_rows_is_inserted_and_known_names_are_left_out(ledger: Ledger, count: int) -> None:
    names = [f"n{i}" for i in range(count)]
    known = stage(ledger, chunk(jobs(names[count // 2]))).batch_id
    staged = stage(ledger, chunk(jobs(*names)), name="other.csv")
    assert staged.plan.new == count - 1
    assert owned(ledger, staged.batch_id) == names
    assert owned(ledger, known) == []


def test_an_insert_that_breaks_a_rule_of_the_tables_undoes_the_whole_transaction(ledger: Ledger) -> None:
    """Not its own rows only: no statement is undone alone, so no half of one may stay."""
    same_place = [(1, 2, 1), (1, 3, 1), (1, 2, 1)]
    with ledger.staging(**BATCH) as staging:
        staging.add(chunk(jobs("a")))
        driver = ledger._database._driver()
        with pytest.raises(Exception, match="UNIQUE"):
            into_rows(("batch_id", "row", "job_id")).run(staging._connection, same_place)
        assert not driver.in_transaction
    assert ledger.batches() == []
    assert stage(ledger, chunk(jobs("a"))).plan.new == 1


def test_a_staging_that_failed_can_neither_go_on_nor_be_committed(ledger: Ledger) -> None:
    with ledger.staging(**BATCH) as staging:
        staging.add(chunk(jobs("a")))
        with pytest.raises(LedgerError, match="cannot be kept"):
            staging.add(chunk(jobs("lone \udcff surrogate"), first=3))
        with pytest.raises(LedgerError, match="failed before"):
            staging.add(chunk(jobs("b"), first=4))
        with pytest.raises(LedgerError, match="failed before"):
            staging.commit(digest="digest")
    assert ledger.batches() == []


def test_no_foreign_key_makes_a_statement_one_that_may_fail_half_way() -> None:
    """One that is checked at once would: SQLite then copies every page that an insert changes."""
    keys = [key for table in METADATA.tables.values() for key in table.foreign_keys]
    assert keys
    assert all(key.deferrable and key.initially == "DEFERRED" for key in keys)


def test_a_row_whose_job_does_not_exist_cannot_be_committed(ledger: Ledger, path: Path) -> None:
    def commit() -> None:
        with ledger.staging(**BATCH) as staging:
            staging.add(chunk(jobs("a")))
            into_rows(("batch_id", "row", "job_id")).run(staging._connection, [(1, 9, 77)])
            staging.commit(digest="digest")

    with pytest.raises(LedgerError, match="FOREIGN KEY"):
        commit()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM batches)").fetchone() == (0, 0)
    assert ledger.batches() == [], "the ledger goes on as if nothing had been"
    assert stage(ledger, chunk(jobs("a"))).plan.new == 1


def test_the_statements_are_compiled_for_each_set_of_columns_once() -> None:
    assert into_jobs(PAYLOAD) is into_jobs(PAYLOAD)
    assert into_jobs(PAYLOAD[:2]) is not into_jobs(PAYLOAD)
    assert into_jobs(PAYLOAD)._columns == (*NEW_JOB, *PAYLOAD)


NUMBERS = st.lists(st.one_of(st.integers(0, 5), st.integers(INT64_MIN, INT64_MAX)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(lists=st.lists(NUMBERS, min_size=1, max_size=4), per_pass=st.integers(1, 70))
def test_numbers_on_disk_are_counted_as_in_memory_in_however_many_passes(lists: list[list[int]], per_pass: int) -> None:
    numbers = Numbers(most=3, per_pass=per_pass)
    counts: Counter[int] = Counter()
    for one in lists:
        numbers.add(one)
        counts.update(one)
        assert numbers.distinct == len(counts)
        assert numbers.top == sorted(counts.items(), key=lambda found: (-found[1], found[0]))[:3]


def test_neighbouring_numbers_are_spread_evenly_over_the_passes() -> None:
    numbers = Numbers(most=1, per_pass=1_000)
    numbers.add(range(40_000_000, 40_010_000))
    sizes = [len(numbers._share(share, 10)) for share in range(10)]
    assert sum(sizes) == 10_000
    assert max(sizes) < 1_300


def test_the_temporary_file_of_numbers_is_closed_with_them() -> None:
    numbers = Numbers(most=1)
    numbers.add([1])
    file = numbers._file
    del numbers
    assert file.closed
