"""What follows an attempt: the design's table row by row, and what must hold whatever comes after what."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.batch.decide import (
    RenewToken,
    RetryAfterSettle,
    Settle,
    Step,
    StopRun,
    WaitAndRetry,
    backoff_s,
    decide,
)
from runner.model import (
    Accepted,
    Evidence,
    JobState,
    NameTaken,
    NotConnected,
    Outcome,
    Refused,
    Scenario,
    Throttled,
    Unauthorized,
    Unknown,
)

NAME_TAKEN = NameTaken(http_status=400, message="A SMS with the name: x already exists", latency_ms=1.0)
NO_CONNECTION = NotConnected(message="refused")
SETTLING_REFUSALS = sorted(
    {
        Scenario.CONTACT_SOURCE_NOT_SMS_ENABLED,
        Scenario.CONTACT_SOURCE_NOT_FOUND,
        Scenario.CONTACT_SOURCE_ACCESS_DENIED,
        Scenario.USER_NOT_SMS_ENABLED,
        Scenario.PUBLISHED_MESSAGE_NOT_IN_ORG,
        Scenario.FORBIDDEN,
        Scenario.PUBLISHED_MESSAGE_ID_MISSING,
        Scenario.PUBLISHED_MESSAGE_NOT_FOUND,
        Scenario.INVALID_MESSAGE_NAME,
        Scenario.EXTERNAL_SYSTEM_NAME_TOO_LONG,
        Scenario.EXTERNAL_SYSTEM_REFERENCE_ID_TOO_LONG,
        Scenario.UNRECOGNIZED,
    }
)
UNKNOWABLE = (Scenario.TIMED_OUT, Scenario.CONNECTION_LOST, Scenario.SERVER_ERROR, Scenario.UNRECOGNIZED)


def step_after(
    outcome: Outcome, *, doubted: bool = False, attempts: int = 0, max_attempts: int = 5, token_is_fresh: bool = False
) -> Step:
    return decide(outcome, doubted=doubted, attempts=attempts, max_attempts=max_attempts, token_is_fresh=token_is_fresh)


def unknown(scenario: Scenario = Scenario.TIMED_OUT, *, retry_after_s: float | None = None) -> Unknown:
    return Unknown(scenario=scenario, http_status=None, message="", retry_after_s=retry_after_s, latency_ms=1.0)


def refused(scenario: Scenario) -> Refused:
    return Refused(scenario=scenario, http_status=400, message="no", latency_ms=1.0)


def throttled(retry_after_s: float | None = None) -> Throttled:
    return Throttled(http_status=429, message="", retry_after_s=retry_after_s, latency_ms=1.0)


def unauthorized() -> Unauthorized:
    return Unauthorized(token="old", message="", latency_ms=1.0)


@pytest.mark.parametrize("doubted", [False, True])
def test_an_id_means_sent(*, doubted: bool) -> None:
    step = step_after(Accepted(send_id="4396816", latency_ms=1.0), doubted=doubted)
    assert step == Settle(state=JobState.SENT, evidence=Evidence.RESPONSE, send_id="4396816")


def test_created_without_a_readable_id_is_sent_all_the_same() -> None:
    step = step_after(Accepted(send_id=None, latency_ms=1.0))
    assert step == Settle(
        state=JobState.SENT, evidence=Evidence.UNREADABLE_RESPONSE, scenario=Scenario.UNREADABLE_RESPONSE
    )


def test_a_name_that_exists_was_ours_if_the_job_was_in_doubt() -> None:
    assert step_after(NAME_TAKEN, doubted=True) == Settle(state=JobState.SENT, evidence=Evidence.NAME_EXISTS)


def test_a_name_that_exists_at_the_first_attempt_is_somebody_elses() -> None:
    expected = Settle(state=JobState.REJECTED, scenario=Scenario.MESSAGE_NAME_NOT_UNIQUE)
    assert step_after(NAME_TAKEN, doubted=False) == expected


@pytest.mark.parametrize("scenario", SETTLING_REFUSALS)
@pytest.mark.parametrize("doubted", [False, True])
def test_a_documented_refusal_and_any_other_4xx_is_rejected_with_its_scenario(
    scenario: Scenario, *, doubted: bool
) -> None:
    assert step_after(refused(scenario), doubted=doubted) == Settle(state=JobState.REJECTED, scenario=scenario)


def test_a_refused_token_is_renewed() -> None:
    assert step_after(unauthorized()) == RenewToken(refused="old")


def test_a_refused_fresh_token_stops_the_run() -> None:
    assert step_after(unauthorized(), token_is_fresh=True) == StopRun(scenario=Scenario.UNAUTHORIZED)


@pytest.mark.parametrize("retry_after_s", [None, 0.0, 17.0])
def test_a_throttle_waits_as_long_as_it_asks_for(retry_after_s: float | None) -> None:
    step = step_after(throttled(retry_after_s))
    assert step == WaitAndRetry(scenario=Scenario.THROTTLED, at_least_s=retry_after_s)


def test_no_connection_waits_and_tries_again() -> None:
    assert step_after(NO_CONNECTION) == WaitAndRetry(scenario=Scenario.CONNECTION_FAILED, at_least_s=None)


@pytest.mark.parametrize("outcome", [throttled(), NO_CONNECTION, unauthorized()])
def test_what_was_not_processed_burns_no_attempt(outcome: Outcome) -> None:
    """However many attempts there were, a refusal without processing never ends the tries."""
    assert not isinstance(step_after(outcome, attempts=10_000, max_attempts=1), Settle)


@pytest.mark.parametrize("scenario", UNKNOWABLE)
def test_an_unknown_outcome_is_tried_again_after_settle(scenario: Scenario) -> None:
    step = step_after(unknown(scenario, retry_after_s=60.0), attempts=4)
    assert step == RetryAfterSettle(scenario=scenario, at_least_s=60.0)


@pytest.mark.parametrize("scenario", UNKNOWABLE)
def test_after_max_attempts_it_stays_in_doubt(scenario: Scenario) -> None:
    assert step_after(unknown(scenario), attempts=5) == Settle(state=JobState.IN_DOUBT, scenario=scenario)


OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Accepted, send_id=st.sampled_from([None, "1"]), latency_ms=st.just(1.0)),
    st.just(NAME_TAKEN),
    st.sampled_from(SETTLING_REFUSALS).map(refused),
    st.just(unauthorized()),
    st.sampled_from([None, 0.0, 3.0]).map(throttled),
    st.just(NO_CONNECTION),
    st.sampled_from(UNKNOWABLE).map(unknown),
)


@given(
    outcome=OUTCOMES,
    doubted=st.booleans(),
    attempts=st.integers(0, 100),
    max_attempts=st.integers(1, 100),
    fresh=st.booleans(),
)
def test_there_is_a_step_for_everything(
    *, outcome: Outcome, doubted: bool, attempts: int, max_attempts: int, fresh: bool
) -> None:
    """And only an answer of the API makes a job sent."""
    step = step_after(outcome, doubted=doubted, attempts=attempts, max_attempts=max_attempts, token_is_fresh=fresh)
    assert isinstance(step, Step)
    if isinstance(step, Settle) and step.state is JobState.SENT:
        assert isinstance(outcome, Accepted) or (isinstance(outcome, NameTaken) and doubted)


@given(outcomes=st.lists(OUTCOMES, max_size=30), max_attempts=st.integers(1, 5))
def test_a_job_is_tried_until_settled_and_never_after(*, outcomes: list[Outcome], max_attempts: int) -> None:
    """Over any run of outcomes: attempts of unknown outcome are bounded, and a doubt ends only by the API's word."""
    doubted, unknown_attempts = False, 0
    for outcome in outcomes:
        unknown_attempts += isinstance(outcome, Unknown)
        step = step_after(outcome, doubted=doubted, attempts=unknown_attempts, max_attempts=max_attempts)
        assert unknown_attempts <= max_attempts
        doubted = doubted or isinstance(outcome, Unknown)
        if isinstance(step, Settle):
            if doubted and step.state is JobState.REJECTED:
                assert isinstance(outcome, Refused), "a doubt is never undone by less than a refusal of the job itself"
            if step.state is JobState.IN_DOUBT:
                assert unknown_attempts == max_attempts
            return


@given(tries=st.integers(1, 10_000), seed=st.integers(0, 1000))
def test_backoff_grows_no_further_than_a_minute_and_never_to_nothing(*, tries: int, seed: int) -> None:
    rng = Random(seed)  # noqa: S311 - jitter, no secret
    assert 0.1 <= backoff_s(tries, rng=rng) <= min(60.0, max(0.1, 2.0 ** min(tries - 1, 10)))


def test_backoff_has_full_jitter() -> None:
    """Clients refused together do not come back together."""
    rng = Random(1)  # noqa: S311 - jitter, no secret
    waits = [backoff_s(6, rng=rng) for _ in range(1000)]
    assert min(waits) < 3.0
    assert max(waits) > 29.0
    assert 14.0 < sum(waits) / len(waits) < 18.0
