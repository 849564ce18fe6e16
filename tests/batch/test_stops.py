"""Each reason to stop a run early, and nothing short of it."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from runner.batch.decide import RetryAfterSettle, Settle, Step, WaitAndRetry
from runner.batch.stops import (
    INTERRUPTED,
    NEVER_CONNECTED_S,
    NOTHING_ACCEPTED_S,
    SAME_REJECTION_FROM_THE_START,
    TERMINATED,
    USER_NOT_SMS_ENABLED,
    Breakers,
    Stop,
    signals,
)
from runner.errors import ExitCode
from runner.model import Accepted, JobState, NotConnected, Outcome, Refused, Scenario, Throttled, Unknown
from runner.settings import MaxRejected

Event = tuple[Outcome, Step]

SENT: Event = (Accepted(send_id="1", latency_ms=1.0), Settle(state=JobState.SENT, send_id="1"))
NO_CONNECTION: Event = (
    NotConnected(message="no"),
    WaitAndRetry(scenario=Scenario.CONNECTION_FAILED, at_least_s=None),
)
THROTTLED: Event = (
    Throttled(http_status=429, message="", retry_after_s=None, latency_ms=1.0),
    WaitAndRetry(scenario=Scenario.THROTTLED, at_least_s=None),
)
LOST: Event = (
    Unknown(scenario=Scenario.TIMED_OUT, http_status=None, message="", latency_ms=1.0),
    RetryAfterSettle(scenario=Scenario.TIMED_OUT, at_least_s=0.0),
)
LEFT_IN_DOUBT: Event = (LOST[0], Settle(state=JobState.IN_DOUBT, scenario=Scenario.TIMED_OUT))


def rejected(scenario: Scenario = Scenario.CONTACT_SOURCE_NOT_FOUND) -> Event:
    outcome = Refused(scenario=scenario, http_status=400, message="no", latency_ms=1.0)
    return outcome, Settle(state=JobState.REJECTED, scenario=scenario)


def breakers(max_rejected: MaxRejected | None = None) -> Breakers:
    return Breakers(max_rejected=max_rejected or MaxRejected(percent=100), started_at=0.0)


def codes(breakers: Breakers, *events: Event, now: float = 1.0) -> list[str | None]:
    stops = [breakers.observe(outcome, step, now=now) for outcome, step in events]
    return [stop.code if stop else None for stop in stops]


def test_the_first_twenty_all_rejected_alike_stop_the_run() -> None:
    found = codes(breakers(), *[rejected()] * SAME_REJECTION_FROM_THE_START)
    assert found == [None] * (SAME_REJECTION_FROM_THE_START - 1) + ["same_rejection"]


@pytest.mark.parametrize("other", [SENT, rejected(Scenario.INVALID_MESSAGE_NAME)])
@pytest.mark.parametrize("place", [0, 10, SAME_REJECTION_FROM_THE_START - 1])
def test_one_that_is_different_among_the_first_keeps_it_going(other: Event, place: int) -> None:
    events = [rejected()] * 60
    events[place] = other
    assert set(codes(breakers(), *events)) == {None}


def test_attempts_without_outcome_do_not_count_among_the_first() -> None:
    events = [LOST, THROTTLED, LEFT_IN_DOUBT] * 10 + [rejected()] * (SAME_REJECTION_FROM_THE_START - 1)
    assert set(codes(breakers(), *events)) == {None}
    events.append(rejected())
    assert codes(breakers(), *events)[-1] == "same_rejection"


def test_a_user_who_may_not_send_stops_the_run_at_once() -> None:
    outcome, step = rejected(Scenario.USER_NOT_SMS_ENABLED)
    assert breakers().observe(outcome, step, now=1.0) is USER_NOT_SMS_ENABLED


def test_more_rejections_than_the_number_allowed_stop_the_run() -> None:
    found = codes(breakers(MaxRejected(count=3)), SENT, *[rejected()] * 4)
    assert found == [None, None, None, None, "max_rejected"]


def test_a_percentage_counts_once_a_hundred_outcomes_are_in() -> None:
    watch = breakers(MaxRejected(percent=20))
    assert set(codes(watch, *[SENT] * 60, *[rejected()] * 39)) == {None}
    assert codes(watch, rejected()) == ["max_rejected"]


def test_exactly_the_percentage_is_allowed() -> None:
    watch = breakers(MaxRejected(percent=20))
    assert set(codes(watch, *[SENT] * 80, *[rejected()] * 20)) == {None}


@pytest.mark.parametrize("failing", [LOST, THROTTLED])
def test_nothing_accepted_for_a_quarter_of_an_hour_stops_the_run(failing: Event) -> None:
    watch = breakers()
    assert codes(watch, SENT, now=100.0) == [None]
    assert codes(watch, failing, now=100.0 + NOTHING_ACCEPTED_S - 1) == [None]
    assert codes(watch, failing, now=100.0 + NOTHING_ACCEPTED_S) == ["nothing_accepted"]


def test_a_run_that_never_had_a_connection_gives_up_after_a_minute() -> None:
    assert codes(breakers(), NO_CONNECTION, now=NEVER_CONNECTED_S - 1) == [None]
    assert codes(breakers(), NO_CONNECTION, now=NEVER_CONNECTED_S) == ["never_connected"]


def test_a_run_that_had_a_connection_is_more_patient() -> None:
    watch = breakers()
    assert codes(watch, THROTTLED, now=1.0) == [None]
    assert codes(watch, NO_CONNECTION, now=NOTHING_ACCEPTED_S - 1) == [None]
    assert codes(watch, NO_CONNECTION, now=NOTHING_ACCEPTED_S) == ["nothing_accepted"]


def test_each_signal_is_heard_as_often_as_it_comes() -> None:
    """And handled no more once the block is left. On a real loop, as signals need one."""

    async def main() -> list[Stop]:
        heard: list[Stop] = []
        more = asyncio.Event()

        def hear(stop: Stop) -> None:
            heard.append(stop)
            more.set()

        with signals(hear):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                more.clear()
                os.kill(os.getpid(), number)
                await asyncio.wait_for(more.wait(), 10)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        return heard

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started the tests may have it ignored
    try:
        assert asyncio.run(main()) == [INTERRUPTED, TERMINATED, TERMINATED, INTERRUPTED]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    """As under nohup."""

    async def main() -> list[Stop]:
        heard: list[Stop] = []
        with signals(heard.append):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)
        return heard

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert asyncio.run(main()) == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_carry_their_exit_codes() -> None:
    assert (INTERRUPTED.exit_code, TERMINATED.exit_code) == (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
