"""A file's rows become jobs, and what the ledger knows of them already is respected."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from ledger.ledger_rows import HEADERS, MESSAGE, chunk, history, invalid, job, jobs, owned, settle, stage

from runner.ledger import tally
from runner.ledger.meeting import NAME_HAS_OTHER_PAYLOAD, NAME_TWICE_IN_FILE
from runner.ledger.store import Ledger
from runner.model import Balance, JobState

SENT, REJECTED, IN_DOUBT, PENDING = JobState.SENT, JobState.REJECTED, JobState.IN_DOUBT, JobState.PENDING
ONE_OF_EACH = {"s": SENT, "r": REJECTED, "d": IN_DOUBT, "p": PENDING}


def test_new_rows_are_pending_and_invalid_rows_are_kept(ledger: Ledger) -> None:
    staged = stage(ledger, chunk(jobs("a", "b"), bad=[invalid(4)]), chunk(jobs("c"), first=5))
    assert ledger.balance(staged.batch_id) == Balance(rows=4, invalid=1, pending=3)
    assert owned(ledger, staged.batch_id) == ["a", "b", "c"]
    assert ledger.invalid_rows(staged.batch_id, limit=10) == [invalid(4)]


def test_a_job_is_kept_as_it_was_given(ledger: Ledger) -> None:
    """Every attribute comes back as it went in, the longest integer and the oddest name included."""
    odd = job(
        "  NA\t\"'\r\n=1+1 名 ",
        contact_source_id=2**63 - 1,
        external_system_name="é" * 2000,
        external_system_reference_id="",
        scheduled_date="2031-01-01T00:00:00.000+05:30",
        pre_blocking_hours=0,
        folder="a/b",
    )
    bare = job("bare", contact_source_id=None)
    batch_id = stage(ledger, chunk([odd, bare])).batch_id
    run_id = ledger.start_run(batch_id, settle_s=30, now_ms=1)
    claims = ledger.turn(run_id, results=[], batch_id=batch_id, claim=5, now_ms=1)
    assert [(claim.row, claim.job) for claim in claims] == [(2, odd), (3, bare)]


def test_leaving_without_commit_leaves_no_trace(ledger: Ledger) -> None:
    with ledger.staging(
        name="a.csv", source="a.csv", headers=HEADERS, other_columns=["store"], attributes={}, now_ms=1
    ) as staging:
        staging.add(chunk(jobs("a", "b")))
        assert staging.plan().new == 2
    assert ledger.batches() == []
    assert stage(ledger, chunk(jobs("a"))).plan.new == 1


def test_an_error_of_the_caller_passes_through_a_staging_untouched(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.staging(name="a", source="a", headers=[], other_columns=[], attributes={}, now_ms=1) as staging:
            staging.add(chunk(jobs("a")))
            raise OSError

    with pytest.raises(OSError, match=r"^$"):
        fail()
    assert ledger.batches() == []


def test_the_same_payload_sends_nothing_that_was_not_to_be_sent(ledger: Ledger) -> None:
    """Sent and rejected stay with their batch, pending and in doubt go over to the new one."""
    first = stage(ledger, chunk(jobs("s", "r", "d", "p"))).batch_id
    settle(ledger, first, **ONE_OF_EACH)
    again = stage(ledger, chunk(jobs("s", "r", "d", "p", "new")), digest="digest-2")
    plan = again.plan
    assert (plan.rows, plan.new, plan.sent, plan.rejected, plan.in_doubt, plan.pending) == (5, 1, 1, 1, 1, 1)
    assert plan.to_send == 3
    assert not again.conflicts
    assert ledger.balance(again.batch_id) == Balance(rows=5, pending=2, in_doubt=1, sent=1, rejected=1)
    assert owned(ledger, again.batch_id) == ["p", "new"]
    assert [doubt.claim.job.message_name for doubt in ledger.doubts(again.batch_id)] == ["d"]
    assert owned(ledger, first) == []
    assert ledger.doubts(first) == []
    assert ledger.balance(first) == Balance(rows=4, pending=1, in_doubt=1, sent=1, rejected=1)


def test_another_payload_is_an_edit_where_nothing_was_sent_and_a_conflict_where_something_may_have_been(
    ledger: Ledger,
) -> None:
    first = stage(ledger, chunk(jobs("s", "r", "d", "p"))).batch_id
    settle(ledger, first, **ONE_OF_EACH)
    edited = jobs("s", "r", "d", "p", contact_source_id=5)
    again = stage(ledger, chunk(edited, first=10), digest="digest-2", now_ms=9_000)

    assert (again.plan.edited, again.plan.invalid, again.plan.to_send) == (2, 2, 2)
    assert ledger.balance(again.batch_id) == Balance(rows=4, invalid=2, pending=2)
    assert ledger.balance(first) == Balance(rows=4, pending=2, in_doubt=1, sent=1)
    assert owned(ledger, again.batch_id) == ["r", "p"]

    assert [(row.row, row.problems[0].code, row.problems[0].value) for row in again.conflicts] == [
        (10, NAME_HAS_OTHER_PAYLOAD, "s"),
        (12, NAME_HAS_OTHER_PAYLOAD, "d"),
    ]
    problem = again.conflicts[0].problems[0]
    assert problem.column == "messageName"
    assert f"sent (batch {first}, campaign.csv, row 2, 1970-01-01T00:00:02Z)" in problem.rule
    assert "in doubt" in again.conflicts[1].problems[0].rule
    assert again.conflicts[0].cells["contactSourceId"] == "5"
    assert again.conflicts[0].cells["store"] == "Berlin"
    assert ledger.invalid_rows(again.batch_id) == again.conflicts


def test_an_edited_job_keeps_its_past_and_its_attempts(ledger: Ledger) -> None:
    first = stage(ledger, chunk(jobs("r"))).batch_id
    settle(ledger, first, r=REJECTED)
    batch_id = stage(ledger, chunk(jobs("r", contact_source_id=None)), digest="digest-2").batch_id
    (what, detail) = history(ledger)[-1]
    kept = json.loads(detail)
    assert what == "edited"
    assert kept["payload"]["contactSourceId"] == 4_000_001
    assert (kept["scenario"], kept["attempts"]) == ("contact_source_not_found", 1)
    run_id = ledger.start_run(batch_id, settle_s=30, now_ms=1)
    (claim,) = ledger.turn(run_id, results=[], batch_id=batch_id, claim=5, now_ms=1)
    assert (claim.attempts, claim.first_attempt_at, claim.job.contact_source_id) == (1, 2_000, None)
    assert [count.scenario for count in ledger.scenarios(batch_id)] == [None]


@pytest.mark.parametrize("changed", sorted({"external_system_name", "scheduled_date", "folder", "pre_blocking_hours"}))
def test_every_attribute_belongs_to_the_payload(ledger: Ledger, changed: str) -> None:
    batch_id = stage(ledger, chunk(jobs("a"))).batch_id
    settle(ledger, batch_id, a=SENT)
    value = 7 if changed == "pre_blocking_hours" else "2031-01-01T00:00:00.000+00:00"
    assert stage(ledger, chunk(jobs("a", **{changed: value})), digest="digest-2").conflicts


def test_a_name_that_stands_twice_in_the_file_is_a_conflict_the_second_time(ledger: Ledger) -> None:
    """In one chunk or across two, new or known before, sent or not."""
    first = stage(ledger, chunk(jobs("s", "p"))).batch_id
    settle(ledger, first, s=SENT)
    again = stage(
        ledger, chunk(jobs("a", "s", "a", "s")), chunk(jobs("p", "a", "p"), first=6), digest="2", name="other.csv"
    )
    assert [(row.row, row.problems[0].code) for row in again.conflicts] == [
        (4, NAME_TWICE_IN_FILE),
        (5, NAME_TWICE_IN_FILE),
        (7, NAME_TWICE_IN_FILE),
        (8, NAME_TWICE_IN_FILE),
    ]
    assert ledger.balance(again.batch_id) == Balance(rows=7, invalid=4, pending=2, sent=1)


def test_the_same_file_again_adds_no_batch(ledger: Ledger) -> None:
    first = stage(ledger, chunk(jobs("s", "r", "d", "p"), bad=[invalid(6)]))
    settle(ledger, first.batch_id, **ONE_OF_EACH)
    again = stage(ledger, chunk(jobs("s", "r", "d", "p"), bad=[invalid(6)]))
    assert again.batch_id == first.batch_id
    assert again.plan.to_send == 2
    assert len(ledger.batches()) == 1
    assert ledger.balance(first.batch_id) == Balance(rows=5, invalid=1, pending=1, in_doubt=1, sent=1, rejected=1)
    assert owned(ledger, first.batch_id) == ["p"]


def test_the_same_file_again_takes_its_jobs_back_from_a_later_file(ledger: Ledger) -> None:
    first = stage(ledger, chunk(jobs("a", "b", "c"))).batch_id
    later = stage(ledger, chunk(jobs("c", "b")), name="other.csv", digest="2").batch_id
    assert owned(ledger, first) == ["a"]
    assert stage(ledger, chunk(jobs("a", "b", "c"))).batch_id == first
    assert owned(ledger, first) == ["a", "b", "c"]
    assert owned(ledger, later) == []


@pytest.mark.parametrize("difference", ["digest", "name", "problems", "other file between"])
def test_the_same_file_again_is_another_batch_where_anything_differs(ledger: Ledger, difference: str) -> None:
    rows = chunk(jobs("a", "b"), bad=[invalid(4)])
    first = stage(ledger, rows).batch_id
    if difference == "digest":
        again = stage(ledger, rows, digest="digest-2")
    elif difference == "name":
        again = stage(ledger, rows, name="other.csv")
    elif difference == "problems":
        again = stage(ledger, chunk(jobs("a", "b"), bad=[invalid(4, name="worse")]))
    else:
        stage(ledger, chunk(jobs("z")), digest="digest-2")
        again = stage(ledger, rows)
    assert again.batch_id != first
    assert owned(ledger, first) == []
    assert owned(ledger, again.batch_id) == ["a", "b"]
    assert ledger.balance(first) == Balance(rows=3, invalid=1, pending=2)


def test_the_same_file_again_is_another_batch_where_a_default_changed_the_payload(ledger: Ledger) -> None:
    first = stage(ledger, chunk(jobs("a"))).batch_id
    again = stage(ledger, chunk(jobs("a", external_system_name="Campaign")))
    assert again.batch_id != first
    assert again.plan.edited == 1


def test_the_same_file_again_leaves_rows_that_are_gone_from_an_edited_file_with_the_old_batch(ledger: Ledger) -> None:
    first = stage(ledger, chunk(jobs("a", "b", "c"))).batch_id
    again = stage(ledger, chunk(jobs("a", "c")), digest="digest-2").batch_id
    assert owned(ledger, first) == ["b"]
    assert owned(ledger, again) == ["a", "c"]


def test_settled_names_are_those_that_no_row_sends_anew(ledger: Ledger) -> None:
    first = stage(ledger, chunk(jobs("s", "r", "d", "p"))).batch_id
    settle(ledger, first, **ONE_OF_EACH)
    with ledger.staging(name="a", source="a", headers=[], other_columns=[], attributes={}, now_ms=1) as staging:
        many = [f"unknown-{i}" for i in range(600)]
        assert staging.settled(["s", "r", "d", "p", *many]) == {"s", "r", "d"}
        assert staging.settled([]) == set()


@pytest.mark.parametrize("limit", [tally.DISTINCT_LIMIT, 0])
def test_the_plan_tells_who_gets_what_and_when(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Counted in memory, or, past the limit, by the database: the same figures."""
    monkeypatch.setattr(tally, "DISTINCT_LIMIT", limit)
    other = MESSAGE.replace("01", "02")
    settle(ledger, stage(ledger, chunk(jobs("sent", published_message_id="gone"))).batch_id, sent=SENT)
    plan = stage(
        ledger,
        chunk(
            [
                job("a", contact_source_id=1, scheduled_date="2031-01-01T00:00:00.000+02:00"),
                job("b", contact_source_id=2, scheduled_date="2030-12-31T23:00:00.000+00:00"),
                job("c", contact_source_id=2, published_message_id=other),
                job("d", contact_source_id=None),
                job("sent", published_message_id="gone"),
            ]
        ),
        digest="digest-2",
    ).plan
    assert [(share.value, share.count) for share in plan.by_message] == [(MESSAGE, 3), (other, 1)]
    assert plan.messages == 2
    assert [(share.value, share.count) for share in plan.by_contact_source] == [("2", 2), ("1", 1)]
    assert (plan.contact_sources, plan.default_audience, plan.immediate) == (2, 1, 2)
    assert plan.earliest == datetime(2030, 12, 31, 22, tzinfo=UTC)
    assert plan.latest == datetime(2030, 12, 31, 23, tzinfo=UTC)


def test_many_rows_take_the_same_way_as_few(ledger: Ledger) -> None:
    """More rows than an insert takes, and not a multiple of it; then the same with known names among them."""
    names = [f"n{i}" for i in range(1_000)]
    stage(ledger, chunk(jobs(*names[100:205])))
    batch_id = stage(ledger, chunk(jobs(*names)), digest="2").batch_id
    assert owned(ledger, batch_id) == names
    assert ledger.balance(batch_id) == Balance(rows=1_000, pending=1_000)
