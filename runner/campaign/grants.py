"""The token endpoint's answers: a token, or why there is none and whether asking again may help.

Plain functions. A refused credential stays refused, so asking again would only add to the calls the vendor counts;
everything that may pass (no connection, a time-out, a 5xx, a throttle) is worth another try later. The endpoint is
sent secrets, and a server may repeat in an error what it was sent, so every text from it is searched for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, quote_plus

from runner.campaign.answers import Reading, read, shown
from runner.campaign.exchange import Answer, CutAnswer, Ending, NoAnswer
from runner.campaign.scenarios import NOT_FOUND, REQUEST_TIMEOUT, TOO_MANY_REQUESTS, speaks_of_throttling
from runner.campaign.token_file import Token, is_token
from runner.errors import ApiError, TokenRefusedError, TokenUnavailableError
from runner.model import NotConnected, Scenario

EXPIRES_IN_S: Final = 14_400.0
"""Seconds a token lives, as documented; used where an answer does not say."""
_SHORTEST_SECRET: Final = 6
"""Something shorter keeps no secret, and taking it out would make errors unreadable."""
_LIMITS: Final = re.compile(r"tokens? limits? (?:(?:has|have) been |is |was |were )?exceeded", re.IGNORECASE)
_CAUSES: Final = {
    "invalid_grant": "The refresh token is wrong, was revoked, or belongs to another client or pod.",
    "invalid_client": "The client id or the client secret is wrong, or the application was disabled.",
    "unauthorized_client": "The application may not use refresh tokens.",
}
_CHECK_CREDENTIALS: Final = (
    "Check SMS_RUNNER_CLIENT_ID, SMS_RUNNER_CLIENT_SECRET, SMS_RUNNER_REFRESH_TOKEN and the pod, "
    "then run `sms-runner messages`."
)
_TRY_LATER: Final = "Try again later; `sms-runner messages` shows whether the API can be reached."


@dataclass(frozen=True, slots=True, kw_only=True)
class NoToken:
    """Why there is no token."""

    error: ApiError
    """What to raise when no more tries are made."""
    again: bool
    """Whether the same request may fare better later."""
    retry_after_s: float | None = None


def token_of(ending: Ending, *, asked_at: float, secrets: Iterable[str]) -> Token | NoToken:
    """What the answer to a token request means.

    Args:
        ending: how the request ended.
        asked_at: when it was made, seconds since the epoch; a token's time counts from there.
        secrets: what was sent; none of it is in an error's text.
    """
    match ending:
        case NotConnected(message=message):
            return NoToken(error=_unavailable("The token endpoint could not be reached", message), again=True)
        case NoAnswer(why=why, message=message) | CutAnswer(why=why, message=message):
            late = why is Scenario.TIMED_OUT
            what = "The token endpoint did not answer in time" if late else "The token endpoint's answer was lost"
            return NoToken(error=_unavailable(what, message), again=True)
        case Answer(status=status) if 200 <= status < 300:  # noqa: PLR2004 - 2xx
            token = _granted(read(ending.body).document, asked_at)
            if token is not None:
                return token
            # What it said is not shown: it may be a token in a form we do not know.
            return NoToken(
                error=_unavailable("The token endpoint answered without a token", f"HTTP {status}"), again=True
            )
        case Answer():
            return _refused(ending, _said(ending.reading), secrets)


def _granted(document: Any, asked_at: float) -> Token | None:  # noqa: ANN401 - JSON
    if not isinstance(document, dict) or not is_token(document.get("access_token")):
        return None
    life = document.get("expires_in")
    if isinstance(life, str) and life.isascii() and life.isdigit():
        life = float(life)
    if isinstance(life, bool) or not isinstance(life, int | float) or not 0 < life < 10 * 365 * 86_400:
        life = EXPIRES_IN_S
    return Token(value=document["access_token"], granted_at=asked_at, expires_in=float(life))


def _refused(answer: Answer, text: str, secrets: Iterable[str]) -> NoToken:
    status = answer.status
    said = shown(_without(secrets, text))
    what = f"(HTTP {status}{': ' if said else ''}{said})"
    later = answer.retry_after_s
    if _LIMITS.search(answer.reading.text):
        error = TokenUnavailableError(
            f"The API grants no more access tokens for now {what}.",
            cause="A token was asked for too often, by this or by other programs of the org.",
            remedy="Wait an hour and resume. Let all runs of this org on this machine share the token cache, and let "
            "other programs keep their token for its first three hours.",
        )
        return NoToken(error=error, again=True, retry_after_s=later)
    if status == TOO_MANY_REQUESTS or (status < 500 and speaks_of_throttling(answer.reading.text)):  # noqa: PLR2004 - 4xx
        error = TokenUnavailableError(
            f"The token endpoint is refusing requests because there are too many {what}.",
            cause="The org allows ten requests at one moment, and other programs share them.",
            remedy="Resume later, or lower max_concurrent here and in the org's other programs.",
        )
        return NoToken(error=error, again=True, retry_after_s=later)
    if status == REQUEST_TIMEOUT or status >= 500:  # noqa: PLR2004 - 5xx
        return NoToken(
            error=_unavailable("The token endpoint keeps failing", f"HTTP {status}{': ' if said else ''}{said}"),
            again=True,
            retry_after_s=later,
        )
    if status < 400 or status == NOT_FOUND:  # noqa: PLR2004 - 3xx
        cause = "There is no token endpoint at this address, so the pod or base_url is probably wrong."
    else:
        cause = next((cause for code, cause in _CAUSES.items() if code in text), None) or "A credential is wrong."
    return NoToken(
        error=TokenRefusedError(f"The token endpoint refused {what}.", cause=cause, remedy=_CHECK_CREDENTIALS),
        again=False,
    )


def _said(reading: Reading) -> str:
    code = reading.document.get("error") if isinstance(reading.document, dict) else None
    return f"{code}: {reading.text}" if isinstance(code, str) and code not in reading.text else reading.text


def _without(secrets: Iterable[str], text: str) -> str:
    forms = {form for s in secrets if len(s) >= _SHORTEST_SECRET for form in (s, quote(s, safe=""), quote_plus(s))}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def _unavailable(what: str, why: str) -> TokenUnavailableError:
    return TokenUnavailableError(
        f"{what} ({shown(why)}).", cause="The network, a proxy or the API is failing.", remedy=_TRY_LATER
    )
