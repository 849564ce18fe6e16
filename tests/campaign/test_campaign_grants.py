from __future__ import annotations

from typing import Any

import orjson
import pytest
from campaign.campaign_fakes import answer
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.campaign.exchange import CutAnswer, Ending, NoAnswer
from runner.campaign.grants import EXPIRES_IN_S, NoToken, token_of
from runner.campaign.token_file import Token
from runner.errors import TokenRefusedError, TokenUnavailableError
from runner.model import NotConnected, Scenario

SECRETS = ("client/S3CR3T+1", "refresh-S3CR3T")

ODD_LIVES: list[Any] = [None, 0, -1, True, "x", [], 1e300]


def judged(ending: Ending) -> Token | NoToken:
    return token_of(ending, asked_at=1000.0, secrets=SECRETS)


def refused(status: int, document: Any = None, *, retry_after_s: float | None = None) -> NoToken:
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    result = judged(answer(status, body, retry_after_s=retry_after_s))
    assert isinstance(result, NoToken)
    return result


def test_a_documented_answer_is_a_token_whose_time_counts_from_the_asking() -> None:
    body = orjson.dumps({"access_token": "t", "token_type": "bearer", "refresh_token": "r", "expires_in": 14400})
    assert judged(answer(200, body)) == Token(value="t", granted_at=1000.0, expires_in=14400.0)


@pytest.mark.parametrize(
    ("written", "read"),
    [(60, 60.0), ("3600", 3600.0), (59.5, 59.5), *((odd, EXPIRES_IN_S) for odd in ODD_LIVES)],
)
def test_a_life_that_makes_no_sense_is_the_documented_one(written: Any, read: float) -> None:
    token = judged(answer(200, orjson.dumps({"access_token": "t", "expires_in": written})))
    assert isinstance(token, Token)
    assert token.expires_in == read


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"<html>log in</html>",
        b'{"access_token":""}',
        b'{"access_token":"a\\nb"}',
        b'{"token":"S3CR3T"}',
    ],
)
def test_a_200_without_a_usable_token_is_tried_again_and_not_repeated_in_the_error(body: bytes) -> None:
    result = judged(answer(200, body))
    assert isinstance(result, NoToken)
    assert result.again
    assert "S3CR3T" not in str(result.error)


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "unauthorized_client"])
@pytest.mark.parametrize("status", [400, 401])
def test_refused_credentials_stay_refused_and_the_error_says_which(status: int, code: str) -> None:
    result = refused(status, {"error": code, "error_description": "no"})
    assert isinstance(result.error, TokenRefusedError)
    assert not result.again
    assert f"{code}: no" in result.error.what
    assert result.error.cause != "A credential is wrong."
    assert "SMS_RUNNER_REFRESH_TOKEN" in (result.error.remedy or "")


@pytest.mark.parametrize("status", [301, 302, 404])
def test_no_token_endpoint_there_points_at_the_pod(status: int) -> None:
    result = refused(status, b"<html>Not Found</html>")
    assert isinstance(result.error, TokenRefusedError)
    assert not result.again
    assert "pod" in (result.error.cause or "")


@pytest.mark.parametrize("status", [400, 401, 403, 429])
def test_limits_exceeded_is_a_throttle_whatever_its_code(status: int) -> None:
    document = {"error": "invalid_grant", "error_description": "Access token limits exceeded"}
    result = refused(status, document, retry_after_s=9.0)
    assert isinstance(result.error, TokenUnavailableError)
    assert result.again
    assert result.retry_after_s == 9.0
    assert "token cache" in (result.error.remedy or "")


@pytest.mark.parametrize(
    ("status", "document"),
    [(429, {}), (400, {"message": "Too many concurrent requests"}), (500, {}), (503, {}), (408, {})],
)
def test_throttles_and_server_errors_are_tried_again(status: int, document: Any) -> None:
    result = refused(status, document, retry_after_s=4.0)
    assert isinstance(result.error, TokenUnavailableError)
    assert (result.again, result.retry_after_s) == (True, 4.0)


@pytest.mark.parametrize(
    "ending",
    [
        NotConnected(message="refused"),
        NoAnswer(why=Scenario.TIMED_OUT, message="late", latency_ms=1.0),
        NoAnswer(why=Scenario.CONNECTION_LOST, message="reset", latency_ms=1.0),
        CutAnswer(status=200, why=Scenario.CONNECTION_LOST, message="cut", retry_after_s=None, latency_ms=1.0),
    ],
    ids=lambda ending: type(ending).__name__,
)
def test_a_network_that_fails_is_tried_again(ending: Ending) -> None:
    result = judged(ending)
    assert isinstance(result, NoToken)
    assert result.again
    assert isinstance(result.error, TokenUnavailableError)


@pytest.mark.parametrize("secret", [*SECRETS, "client%2FS3CR3T%2B1"])
@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_a_secret_that_the_server_repeats_is_not_in_the_error(status: int, secret: str) -> None:
    result = refused(status, {"error": "invalid_grant", "error_description": f"bad value {secret}!"})
    assert "S3CR3T" not in str(result.error)
    assert "***" in str(result.error)


@given(st.integers(100, 599), st.binary(max_size=200))
@settings(deadline=None)
def test_every_answer_is_a_token_or_an_error(status: int, body: bytes) -> None:
    assert isinstance(judged(answer(status, body)), Token | NoToken)
