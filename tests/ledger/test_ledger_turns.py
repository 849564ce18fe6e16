"""Claims before sends, records after: what a run may rely on, and what a run that died leaves to the next."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ledger.ledger_rows import (
    ORG,
    chunk,
    claim_all,
    history,
    in_doubt,
    job,
    jobs,
    owned,
    rejected,
    result,
    sent,
    settle,
    stage,
    start,
)

from runner.errors import ExitCode, LedgerBusyError, LedgerError, LedgerWriteError
from runner.ledger.entries import MESSAGE_LIMIT
from runner.ledger.store import Ledger
from runner.model import INT32_MAX, INT64_MAX, INT64_MIN, Balance, Evidence, JobState, Scenario

SENT, REJECTED, IN_DOUBT, PENDING = JobState.SENT, JobState.REJECTED, JobState.IN_DOUBT, JobState.PENDING


def test_claims_come_in_row_order_and_are_in_doubt_on_disk_before_turn_returns(ledger: Ledger, path: Path) -> None:
    batch_id = stage(ledger, chunk(jobs("e", "d", "c", "b", "a"))).batch_id
    run_id = start(ledger, batch_id)
    first = ledger.turn(run_id, results=[], batch_id=batch_id, claim=2, now_ms=2_000)
    assert [(claim.row, claim.job.message_name, claim.attempts, claim.doubted) for claim in first] == [
        (2, "e", 0, False),
        (3, "d", 0, False),
    ]
    with Ledger.open(path, org=ORG, read_only=True) as other:
        assert other.balance(batch_id) == Balance(rows=5, pending=3, in_doubt=2)
    rest = ledger.turn(run_id, results=[sent(one) for one in first], batch_id=batch_id, claim=9, now_ms=2_000)
    assert [claim.job.message_name for claim in rest] == ["c", "b", "a"]
    assert ledger.turn(run_id, results=[], batch_id=batch_id, claim=9, now_ms=2_000) == []


def test_a_sent_job_is_not_claimed_even_where_a_damaged_index_calls_it_pending(path: Path) -> None:
    with Ledger.open(path, org=ORG) as ledger:
        stage(ledger, chunk(jobs("a", "b", "c")))
        run_id = start(ledger, 1)
    with unknown_to_sqlite(path, index="jobs_pending") as database:
        database.execute("UPDATE jobs SET state = 'sent' WHERE message_name = 'b'")
    with Ledger.open(path, org=ORG) as ledger:
        claimed = ledger.turn(run_id, results=[], batch_id=1, claim=9, now_ms=2_000)
        assert [claim.job.message_name for claim in claimed] == ["a", "c"]
        assert ledger.balance(1) == Balance(rows=3, in_doubt=2, sent=1)


@contextmanager
def unknown_to_sqlite(path: Path, *, index: str) -> Iterator[sqlite3.Connection]:
    """The ledger's file, in which nothing that is done in the block reaches this index."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        known = database.execute("SELECT * FROM sqlite_master WHERE name = ?", (index,)).fetchone()
        database.execute("PRAGMA writable_schema = ON")
        database.execute("DELETE FROM sqlite_master WHERE name = ?", (index,))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        yield database
        database.execute("PRAGMA writable_schema = ON")
        database.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", known)


def test_a_claim_hands_out_a_job_byte_for_byte(ledger: Ledger) -> None:
    odd = [
        job(name, external_system_name=name, folder=name, contact_source_id=contact, pre_blocking_hours=hours)
        for name, contact, hours in (
            (" quotes \" and ' and \\ ", INT64_MAX, 0),
            ("lines\r\nand\ttabs\x01\x1f\x7f", INT64_MIN, INT32_MAX),
            ("Köln Ωmega 中文 🎉 e\u0301 \u2028", 9_007_199_254_740_993, None),
            ('{"json": [1, null]}', None, 24),
            ("[]", 1, 1),
            ("null", 0, 1),
        )
    ]
    batch_id = stage(ledger, chunk(odd)).batch_id
    claimed = ledger.turn(start(ledger, batch_id), results=[], batch_id=batch_id, claim=99, now_ms=2_000)
    assert [claim.job for claim in claimed] == odd


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 65, 200])
def test_a_turn_records_as_many_results_as_there_are(ledger: Ledger, count: int) -> None:
    batch_id = stage(ledger, chunk(jobs(*(f"job {number}" for number in range(count + 1))))).batch_id
    run_id = start(ledger, batch_id)
    *done, left = claim_all(ledger, batch_id, run_id)
    outcomes = [sent(claim, send_id=str(claim.job_id)) for claim in done]
    ledger.turn(run_id, results=outcomes, batch_id=batch_id, claim=0, now_ms=2_100)
    assert ledger.balance(batch_id) == Balance(rows=count + 1, sent=count, in_doubt=1)
    (pages,) = ledger.result_pages(batch_id, size=1_000)
    assert [cells[2] for cells in pages] == [*(str(claim.job_id) for claim in done), None]
    twice = [*(sent(claim) for claim in done), sent(left)]
    with pytest.raises(LedgerError, match=f"^{count} of {count + 1} results"):
        ledger.turn(run_id, results=twice, batch_id=batch_id, claim=0, now_ms=2_200)
    assert ledger.balance(batch_id).in_doubt == 1


def test_of_two_results_for_a_job_in_one_turn_the_later_one_stands_and_both_doubts_are_kept(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("a", "b", "c"))).batch_id
    run_id = start(ledger, batch_id)
    a, b, c = claim_all(ledger, batch_id, run_id)
    results = [in_doubt(a), in_doubt(b, attempts=1), sent(c), in_doubt(b, attempts=2), sent(a, send_id="77")]
    ledger.turn(run_id, results=results, batch_id=batch_id, claim=0, now_ms=2_100)
    (pages,) = ledger.result_pages(batch_id, size=100)
    assert [(cells[1], cells[2], cells[6]) for cells in pages] == [
        ("sent", "77", 1),
        ("in_doubt", None, 2),
        ("sent", "4396816", 1),
    ]
    assert [what for what, _ in history(ledger)] == ["doubt", "doubt", "doubt"]


def test_a_result_after_the_final_one_is_an_error_in_the_same_turn_too(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("a", "b"))).batch_id
    run_id = start(ledger, batch_id)
    a, b = claim_all(ledger, batch_id, run_id)
    for later in (sent(a), in_doubt(a)):
        with pytest.raises(LedgerError, match=r"^1 of 3 results"):
            ledger.turn(run_id, results=[sent(b), sent(a), later], batch_id=batch_id, claim=0, now_ms=2_100)
    assert ledger.balance(batch_id) == Balance(rows=2, in_doubt=2)


def test_every_outcome_is_kept_as_it_was_recorded(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("s", "n", "r", "d", "p"))).batch_id
    run_id = start(ledger, batch_id)
    s, n, r, d, p = claim_all(ledger, batch_id, run_id)
    outcomes = [
        sent(s),
        sent(n, send_id=None, evidence=Evidence.NAME_EXISTS, http_status=400),
        rejected(r, message="x" * 2_000),
        in_doubt(d, http_status=None),
        result(p, PENDING, scenario=Scenario.THROTTLED, http_status=429, message="later", attempts=0),
    ]
    assert ledger.turn(run_id, results=outcomes, batch_id=batch_id, claim=0, now_ms=2_100) == []
    assert ledger.balance(batch_id) == Balance(rows=5, pending=1, in_doubt=1, sent=2, rejected=1)
    (pages,) = ledger.result_pages(batch_id, size=100)
    assert [tuple(cells[1:11]) for cells in pages] == [
        ("sent", "4396816", None, 201, None, 1, "response", 2_000, 2_050, 50.125),
        ("sent", None, None, 400, None, 1, "name_exists", 2_000, 2_050, 50.125),
        ("rejected", None, "contact_source_not_found", 400, "x" * MESSAGE_LIMIT, 1, None, 2_000, 2_050, 50.125),
        ("in_doubt", None, "timed_out", None, None, 1, None, 2_000, 2_050, 50.125),
        ("pending", None, "throttled", 429, "later", 0, None, 2_000, 2_050, 50.125),
    ]
    assert {(count.state, count.scenario, count.evidence): count.count for count in ledger.scenarios(batch_id)} == {
        (SENT, None, Evidence.RESPONSE): 1,
        (SENT, None, Evidence.NAME_EXISTS): 1,
        (REJECTED, Scenario.CONTACT_SOURCE_NOT_FOUND, None): 1,
        (IN_DOUBT, Scenario.TIMED_OUT, None): 1,
        (PENDING, Scenario.THROTTLED, None): 1,
    }
    assert ledger.usual_latency_ms() == 50.125


def test_a_job_given_back_as_pending_can_be_claimed_in_the_same_turn(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("a", "b"))).batch_id
    run_id = start(ledger, batch_id)
    (a,) = ledger.turn(run_id, results=[], batch_id=batch_id, claim=1, now_ms=2_000)
    back = [result(a, PENDING, attempts=0)]
    again = ledger.turn(run_id, results=back, batch_id=batch_id, claim=2, now_ms=2_000)
    assert [claim.job.message_name for claim in again] == ["a", "b"]


def test_a_result_for_a_job_that_was_not_claimed_is_an_error_and_nothing_is_recorded(ledger: Ledger) -> None:
    """Neither one recorded twice, nor one that another run has taken over."""
    batch_id = stage(ledger, chunk(jobs("a", "b"))).batch_id
    run_id = start(ledger, batch_id)
    a, b = claim_all(ledger, batch_id, run_id)
    ledger.turn(run_id, results=[sent(a)], batch_id=batch_id, claim=0, now_ms=2_000)
    with pytest.raises(LedgerError, match="1 of 2 results"):
        ledger.turn(run_id, results=[sent(b), rejected(a)], batch_id=batch_id, claim=0, now_ms=2_000)
    other = start(ledger, batch_id)
    with pytest.raises(LedgerError, match="1 of 1 results"):
        ledger.turn(other, results=[sent(b)], batch_id=batch_id, claim=0, now_ms=2_000)
    assert ledger.balance(batch_id) == Balance(rows=2, in_doubt=1, sent=1)


def test_a_turn_takes_jobs_of_its_own_batch_only(ledger: Ledger) -> None:
    first = stage(ledger, chunk(jobs("a"))).batch_id
    stage(ledger, chunk(jobs("b")), name="other.csv")
    assert [claim.job.message_name for claim in claim_all(ledger, first, start(ledger, first))] == ["a"]


def test_a_claim_never_attempted_goes_back_to_pending(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("a", "b"))).batch_id
    run_id = start(ledger, batch_id)
    a, b = claim_all(ledger, batch_id, run_id)
    ledger.release(run_id, job_ids=[a.job_id], now_ms=3_000)
    assert owned(ledger, batch_id) == ["a"]
    ledger.release(start(ledger, batch_id), job_ids=[b.job_id], now_ms=3_000)
    assert ledger.balance(batch_id).in_doubt == 1, "a claim of another run was given back"


def test_doubts_a_claim_of_a_dead_run_counts_from_its_last_sign_of_life(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("a", "b"))).batch_id
    run_id = start(ledger, batch_id, now_ms=2_000, settle_s=45.0)
    claim_all(ledger, batch_id, run_id)
    ledger.beat(run_id, now_ms=7_000)
    doubts = ledger.doubts(batch_id)
    assert [(doubt.claim.row, doubt.claim.doubted) for doubt in doubts] == [(2, True), (3, True)]
    assert {(doubt.doubt_since_ms, doubt.settle_s) for doubt in doubts} == {(7_000, 45.0)}


def test_doubts_a_recorded_doubt_counts_no_earlier_than_the_last_sign_of_life(ledger: Ledger) -> None:
    """Its second attempt may have been under way when the run died."""
    batch_id = stage(ledger, chunk(jobs("a"))).batch_id
    run_id = start(ledger, batch_id)
    (a,) = claim_all(ledger, batch_id, run_id)
    ledger.turn(run_id, results=[in_doubt(a, finished_at=3_000)], batch_id=batch_id, claim=0, now_ms=2_500)
    assert ledger.doubts(batch_id)[0].doubt_since_ms == 3_000
    ledger.beat(run_id, now_ms=9_000)
    assert ledger.doubts(batch_id)[0].doubt_since_ms == 9_000


def test_doubts_are_never_handed_out_as_new_claims(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("a"))).batch_id
    claim_all(ledger, batch_id, start(ledger, batch_id))
    assert claim_all(ledger, batch_id, start(ledger, batch_id)) == []


def test_doubts_are_recorded_by_the_run_that_adopts_them(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("a"))).batch_id
    claim_all(ledger, batch_id, start(ledger, batch_id))
    run_id = start(ledger, batch_id)
    (doubt,) = ledger.doubts(batch_id, run_id=run_id)
    ledger.adopt(run_id, job_ids=[doubt.claim.job_id], now_ms=3_000)
    assert ledger.doubts(batch_id, run_id=run_id) == []
    taken = sent(doubt.claim, evidence=Evidence.NAME_EXISTS)
    ledger.turn(run_id, results=[taken], batch_id=batch_id, claim=0, now_ms=3_000)
    assert ledger.balance(batch_id) == Balance(rows=1, sent=1)


def test_doubts_stay_doubts_when_given_back_unattempted(ledger: Ledger) -> None:
    """One that was only claimed by a run that died, and one whose doubt was recorded."""
    batch_id = stage(ledger, chunk(jobs("a", "b"))).batch_id
    dead = start(ledger, batch_id)
    a, b = claim_all(ledger, batch_id, dead)
    ledger.turn(dead, results=[in_doubt(b)], batch_id=batch_id, claim=0, now_ms=2_500)
    run_id = start(ledger, batch_id)
    ledger.adopt(run_id, job_ids=[a.job_id, b.job_id], now_ms=3_000)
    ledger.release(run_id, job_ids=[a.job_id, b.job_id], now_ms=3_500)
    assert ledger.balance(batch_id) == Balance(rows=2, in_doubt=2)


def test_doubts_only_they_can_be_adopted(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("a", "b"))).batch_id
    settle(ledger, batch_id, a=SENT, b=IN_DOUBT)
    run_id = start(ledger, batch_id)
    with pytest.raises(LedgerError, match="not in doubt"):
        ledger.adopt(run_id, job_ids=[1, 2], now_ms=3_000)
    assert len(ledger.doubts(batch_id, run_id=run_id)) == 1


def test_doubts_stay_in_the_history_when_a_later_answer_settles_them(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("a"))).batch_id
    run_id = start(ledger, batch_id)
    (a,) = claim_all(ledger, batch_id, run_id)
    ledger.turn(run_id, results=[in_doubt(a)], batch_id=batch_id, claim=0, now_ms=2_500)
    ledger.turn(run_id, results=[sent(a)], batch_id=batch_id, claim=0, now_ms=2_600)
    ((what, detail),) = history(ledger)
    assert (what, json.loads(detail)["scenario"]) == ("doubt", "timed_out")


def test_a_retry_makes_rejected_jobs_pending_and_keeps_what_they_were_rejected_for(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("r", "s"))).batch_id
    settle(ledger, batch_id, r=REJECTED, s=SENT)
    assert ledger.make_retryable(batch_id, now_ms=5_000) == 1
    assert ledger.balance(batch_id) == Balance(rows=2, pending=1, sent=1)
    ((what, detail),) = history(ledger)
    assert what == "retried"
    assert json.loads(detail) == {
        "attempts": 1,
        "scenario": "contact_source_not_found",
        "http_status": 400,
        "message": "Contact source ID does not exist.",
        "finished_at": 2_050,
    }
    (claim,) = claim_all(ledger, batch_id, start(ledger, batch_id))
    assert (claim.attempts, claim.first_attempt_at) == (1, 2_000)


def test_a_retry_of_one_scenario_leaves_the_others(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("r"))).batch_id
    settle(ledger, batch_id, r=REJECTED)
    assert ledger.make_retryable(None, scenario=Scenario.FORBIDDEN, now_ms=5_000) == 0
    assert ledger.make_retryable(None, scenario=Scenario.CONTACT_SOURCE_NOT_FOUND, now_ms=5_000) == 1
    assert owned(ledger, batch_id) == ["r"]


def test_a_retry_of_a_batch_sends_what_an_earlier_batch_saw_rejected(ledger: Ledger) -> None:
    first = stage(ledger, chunk(jobs("x", "r"))).batch_id
    settle(ledger, first, r=REJECTED, x=SENT)
    second = stage(ledger, chunk(jobs("r", "new")), digest="2").batch_id
    assert ledger.make_retryable(second, now_ms=5_000) == 1
    assert owned(ledger, second) == ["r", "new"]


def test_a_retry_of_a_batch_leaves_other_batches_alone(ledger: Ledger) -> None:
    first = stage(ledger, chunk(jobs("r"))).batch_id
    settle(ledger, first, r=REJECTED)
    second = stage(ledger, chunk(jobs("new")), digest="2").batch_id
    assert ledger.make_retryable(second, now_ms=5_000) == 0
    assert ledger.balance(first) == Balance(rows=1, rejected=1)


def test_a_run_tells_of_itself(ledger: Ledger) -> None:
    batch_id = stage(ledger, chunk(jobs("a"))).batch_id
    run_id = start(ledger, batch_id, now_ms=2_000, settle_s=12.5)
    ledger.turn(run_id, results=[], batch_id=batch_id, claim=0, now_ms=2_500)
    run = ledger.last_run()
    assert run is not None
    assert (run.batch_id, run.started_at, run.alive_at, run.settle_s, run.ended_at) == (
        batch_id,
        2_000,
        2_500,
        12.5,
        None,
    )
    ledger.end_run(run_id, reason="finished", exit_code=ExitCode.ALL_SENT, now_ms=3_000)
    (run,) = ledger.runs(batch_id)
    assert (run.ended_at, run.end_reason, run.exit_code) == (3_000, "finished", 0)
    assert ledger.batch(batch_id).last_run == run


def test_the_newest_unfinished_batch_is_one_a_run_has_something_to_do_for(ledger: Ledger) -> None:
    assert ledger.newest_unfinished() is None
    first = stage(ledger, chunk(jobs("a"))).batch_id
    second = stage(ledger, chunk(jobs("b")), name="other.csv").batch_id
    settle(ledger, second, b=IN_DOUBT)
    found = ledger.newest_unfinished()
    assert found is not None
    assert (found.batch_id, found.name, found.balance) == (second, "other.csv", Balance(rows=1, in_doubt=1))
    run_id = start(ledger, second)
    (doubt,) = ledger.doubts(second)
    ledger.adopt(run_id, job_ids=[doubt.claim.job_id], now_ms=3_000)
    ledger.turn(run_id, results=[rejected(doubt.claim)], batch_id=second, claim=0, now_ms=3_000)
    found = ledger.newest_unfinished()
    assert found is not None
    assert found.batch_id == first
    assert [batch.batch_id for batch in ledger.batches()] == [second, first]


def test_past_dates_are_told_across_offsets(ledger: Ledger) -> None:
    now = datetime(2031, 1, 1, 12, tzinfo=UTC)
    past = "2031-01-01T13:59:59.999+02:00"
    batch_id = stage(
        ledger,
        chunk(
            [
                job("a", scheduled_date=past),
                job("b", scheduled_date="2031-01-01T12:00:00.000+00:00"),
                job("c"),
                job("d", scheduled_date="2031-01-01T05:00:00.000-08:00"),
                job("e", scheduled_date=past),
            ]
        ),
    ).batch_id
    found = ledger.past_dates(batch_id, now=now)
    assert (found.count, found.first_rows) == (2, (2, 6))
    assert ledger.past_dates(batch_id, now=now, first=1).first_rows == (2,)


def test_the_run_lock_lets_one_run_at_a_time_in_and_names_the_other(ledger: Ledger, path: Path) -> None:
    batch_id = stage(ledger, chunk(jobs("a"))).batch_id
    assert not ledger.at_work()
    with Ledger.open(path, org=ORG) as other:
        with ledger.lock_for_run():
            assert other.at_work()
            with pytest.raises(LedgerBusyError, match="not begun"), other.lock_for_run():
                pass
            run = start(ledger, batch_id, now_ms=0)
            with pytest.raises(LedgerBusyError, match=r"1970-01-01T00:00:00Z.*campaign\.csv"), other.lock_for_run():
                pass
            ledger.end_run(run, reason="x", exit_code=0, now_ms=1)
        assert not other.at_work()
        with other.lock_for_run():
            pass


def test_the_run_lock_can_be_given_back_by_another_thread_than_took_it(ledger: Ledger) -> None:
    lock = ledger.lock_for_run()
    with ThreadPoolExecutor(max_workers=1) as threads:
        threads.submit(lock.__enter__).result()
    assert ledger.at_work()
    lock.__exit__(None, None, None)
    assert not ledger.at_work()


def test_the_run_lock_is_readable_by_its_owner_only(ledger: Ledger, path: Path) -> None:
    with ledger.lock_for_run():
        assert Path(f"{path}.lock").stat().st_mode & 0o777 == 0o600


def test_a_batch_that_is_not_there_is_said_so(ledger: Ledger) -> None:
    for ask in (ledger.balance, ledger.batch, ledger.scenarios, ledger.invalid_rows, ledger.runs):
        with pytest.raises(LedgerError, match="no batch 7"):
            ask(7)
    with pytest.raises(LedgerError, match="no batch 7"):
        start(ledger, 7)


def test_a_ledger_opened_for_reading_changes_nothing(ledger: Ledger, path: Path) -> None:
    batch_id = stage(ledger, chunk(jobs("a"))).batch_id
    with Ledger.open(path, org=ORG, read_only=True) as reader:
        with pytest.raises(LedgerWriteError):
            start(reader, batch_id)
        with pytest.raises(LedgerWriteError):
            stage(reader, chunk(jobs("b")))
        with pytest.raises(LedgerWriteError):
            reader.turn(1, results=[], batch_id=batch_id, claim=1, now_ms=1)
        assert reader.balance(batch_id).pending == 1


def test_a_reader_sees_one_moment_while_a_run_goes_on(ledger: Ledger, path: Path) -> None:
    """Pages of one export do not mix before and after a turn."""
    batch_id = stage(ledger, chunk(jobs("a", "b"))).batch_id
    run_id = start(ledger, batch_id)
    with Ledger.open(path, org=ORG, read_only=True) as reader:
        pages = reader.result_pages(batch_id, size=1)
        assert next(pages)[0][1] == "pending"
        claims = claim_all(ledger, batch_id, run_id)
        ledger.turn(run_id, results=[sent(one) for one in claims], batch_id=batch_id, claim=0, now_ms=1)
        assert next(pages)[0][1] == "pending"
        assert list(pages) == []
        assert reader.balance(batch_id).sent == 2
