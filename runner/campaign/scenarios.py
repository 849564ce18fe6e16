"""The API's documented outcomes as a table, and from a whole answer to one of them.

The table is the vendor's, row by row. Beyond it some answers need a rule of ours. One that says "too many at
once" was not processed, whatever its code, since neither code nor text of that refusal is documented. One that no
rule knows is kept with its message: a 4xx is a refusal, anything else (a redirect, a 5xx, another 2xx) leaves open
whether the job was accepted. And the message of a taken name repeats a text of the user's, who may have named a
message "Too many requests", so what is found in such a message means nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from runner.campaign.answers import shown
from runner.model import (
    Accepted,
    NameTaken,
    Outcome,
    Refused,
    Scenario,
    Throttled,
    Unauthorized,
    Unknown,
)

CREATED: Final = 201
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
REQUEST_TIMEOUT: Final = 408
TOO_MANY_REQUESTS: Final = 429
UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """One row of the vendor's table of outcomes."""

    number: int
    about: str
    """The attribute, or "user" or "contact source"."""
    case: str
    scenario: Scenario | None
    """None: the job is accepted."""
    status: int
    message: str | None
    """As documented, … standing for what varies; None: the table gives none."""
    pattern: re.Pattern[str] | None
    """What the answer's text must hold; None: the status code alone says it."""
    outcome: type[Accepted | NameTaken | Refused]


def _row(
    number: int,
    about: str,
    case: str,
    scenario: Scenario | None,
    status: int,
    message: str | None,
    pattern: str | None,
    outcome: type[Accepted | NameTaken | Refused],
) -> Documented:
    return Documented(
        number=number,
        about=about,
        case=case,
        scenario=scenario,
        status=status,
        message=message,
        pattern=re.compile(pattern, re.IGNORECASE | re.DOTALL) if pattern is not None else None,
        outcome=outcome,
    )


_TAKEN: Final = r"\bSMS with the name\b.*\balready exists\b"
_TOO_LONG: Final = r"cannot exceed 2000 characters"

DOCUMENTED: Final[tuple[Documented, ...]] = (
    _row(1, "contact source", "not SMS enabled", Scenario.CONTACT_SOURCE_NOT_SMS_ENABLED, 400,
         "Contact source is not enabled for SMS.", r"contact source is not enabled for SMS", Refused),
    _row(2, "user", "calling user is not SMS enabled", Scenario.USER_NOT_SMS_ENABLED, 403,
         "Forbidden", None, Refused),
    _row(3, "contact source", "does not exist", Scenario.CONTACT_SOURCE_NOT_FOUND, 400,
         "Contact source ID does not exist.", r"contact source ID does not exist", Refused),
    _row(4, "contact source", "not in this org", Scenario.CONTACT_SOURCE_ACCESS_DENIED, 400,
         "Contact source access denied", r"contact source access denied", Refused),
    _row(5, "publishedMessageId", "none provided", Scenario.PUBLISHED_MESSAGE_ID_MISSING, 404,
         None, None, Refused),
    _row(6, "publishedMessageId", "does not exist", Scenario.PUBLISHED_MESSAGE_NOT_FOUND, 400,
         "Unable to find published DeliveryDraft with contentId …",
         r"unable to find published DeliveryDraft with contentId", Refused),
    _row(7, "publishedMessageId", "not in this org", Scenario.PUBLISHED_MESSAGE_NOT_IN_ORG, 403,
         "Forbidden", None, Refused),
    _row(8, "publishedMessageId", "existed but was deleted", Scenario.PUBLISHED_MESSAGE_NOT_FOUND, 400,
         "Unable to find published DeliveryDraft with contentId …",
         r"unable to find published DeliveryDraft with contentId", Refused),
    _row(9, "messageName", "has characters not whitelisted for the UI", None, 201, "Success", None, Accepted),
    _row(10, "messageName", "all spaces", Scenario.INVALID_MESSAGE_NAME, 400,
         "Invalid message name", r"invalid message name", Refused),
    _row(11, "messageName", "leading or trailing spaces", None, 201, "Success", None, Accepted),
    _row(12, "messageName", "not unique", Scenario.MESSAGE_NAME_NOT_UNIQUE, 400,
         "A SMS with the name: … already exists", _TAKEN, NameTaken),
    _row(13, "externalSystemName", "over 2000 characters", Scenario.EXTERNAL_SYSTEM_NAME_TOO_LONG, 400,
         "Length of External System Name cannot exceed 2000 characters.",
         r"external system name " + _TOO_LONG, Refused),
    # The misspelling is the API's own; the pattern will also know it corrected.
    _row(14, "externalSystemReferenceId", "over 2000 characters", Scenario.EXTERNAL_SYSTEM_REFERENCE_ID_TOO_LONG, 400,
         "Length of External System RefrenceId cannot exceed 2000 characters.",
         r"external system refe?rence ?id " + _TOO_LONG, Refused),
)  # fmt: skip
"""Rows 2 and 7 answer alike: `classify` says `forbidden`, and the list of published messages tells them apart.
Rows 6 and 8 answer alike and are one scenario."""

_REFUSALS: Final = tuple(
    (row.status, row.pattern, row.scenario)
    for row in DOCUMENTED
    if row.outcome is Refused and row.pattern and row.scenario
)
_NAME_TAKEN: Final = re.compile(_TAKEN, re.IGNORECASE | re.DOTALL)
_NAME_TAKEN_STATUS: Final = frozenset({400, 409, 422})
"""400 is documented; the others mean the same, and to take such an answer for a plain refusal would hide a send."""

_THROTTLE: Final = re.compile(
    r"concurren|too many (?:\w+ ){0,2}(?:requests|calls|connections|sessions|threads)|rate[ -]?limit|throttl"
    r"|(?:request|call|rate|usage|api)s? limits? (?:(?:has|have) been |is |was |were )?exceeded",
    re.IGNORECASE,
)


def speaks_of_throttling(text: str) -> bool:
    """Whether an error's text says that too many requests were made, at one moment or in a period."""
    return _THROTTLE.search(text) is not None


def means_slow_down(status: int, text: str) -> bool:
    """Whether an answer is a sign that too many requests are under way: 429, 503, or a 4xx whose text says so.

    A taken name is none, whatever the name says.
    """
    if status in (TOO_MANY_REQUESTS, UNAVAILABLE):
        return True
    return 400 <= status < 500 and speaks_of_throttling(text) and not _NAME_TAKEN.search(text)  # noqa: PLR2004 - 4xx


def classify(  # noqa: PLR0911 - one return for each line of the rule
    status: int,
    message: str,
    *,
    latency_ms: float,
    retry_after_s: float | None = None,
    send_id: str | None = None,
    token: str = "",
    from_api: bool = True,
) -> Outcome:
    """What a whole answer to the send call means.

    Args:
        status: its code.
        message: its whole text (`answers.read`); the outcome keeps at most 500 characters of it.
        latency_ms: handed on.
        retry_after_s: handed on where the outcome has it.
        send_id: the id in the body of a 201.
        token: the access token of the request, for `Unauthorized`.
        from_api: the body is one that the API itself may have made. A 404 means "no id provided" (row 5) only then:
            our requests always have an id, so a page or a plain text with a 404 is a gateway's, or that of a wrong
            address, and is kept as unrecognized.
    """
    if status == CREATED and send_id is not None:
        return Accepted(send_id=send_id, latency_ms=latency_ms)
    kept = shown(message)
    if status == CREATED:
        return Accepted(send_id=None, latency_ms=latency_ms, message=kept)
    if not 400 <= status < 500:  # noqa: PLR2004 - 4xx
        scenario = Scenario.SERVER_ERROR if 500 <= status < 600 else Scenario.UNRECOGNIZED  # noqa: PLR2004 - 5xx
        return Unknown(
            scenario=scenario, http_status=status, message=kept, retry_after_s=retry_after_s, latency_ms=latency_ms
        )
    if status == REQUEST_TIMEOUT:
        return Unknown(
            scenario=Scenario.TIMED_OUT,
            http_status=status,
            message=kept,
            retry_after_s=retry_after_s,
            latency_ms=latency_ms,
        )
    if means_slow_down(status, message):
        return Throttled(http_status=status, message=kept, retry_after_s=retry_after_s, latency_ms=latency_ms)
    if status == UNAUTHORIZED:
        return Unauthorized(token=token, message=kept, latency_ms=latency_ms)
    if status in _NAME_TAKEN_STATUS and _NAME_TAKEN.search(message):
        return NameTaken(http_status=status, message=kept, latency_ms=latency_ms)
    scenario = _refusal(status, message, from_api=from_api)
    return Refused(scenario=scenario, http_status=status, message=kept, latency_ms=latency_ms)


def classify_cut(
    status: int, why: Scenario, message: str, *, latency_ms: float, retry_after_s: float | None = None, token: str = ""
) -> Outcome:
    """What an answer means of which only the head could be read.

    The codes that speak for themselves (201, 401, 429, 5xx) mean what they always do. The meaning of any other 4xx
    lies in its text: it may be the refusal of a name that is already ours, so without the text it stays unknown.

    Args:
        status: its code.
        why: `timed_out`, `connection_lost` or `unreadable_response`.
        message: what happened to the body.
        latency_ms: handed on.
        retry_after_s: handed on where the outcome has it.
        token: the access token of the request, for `Unauthorized`.
    """
    if status in (CREATED, UNAUTHORIZED, TOO_MANY_REQUESTS) or 500 <= status < 600:  # noqa: PLR2004 - 5xx
        return classify(status, message, latency_ms=latency_ms, retry_after_s=retry_after_s, token=token)
    scenario = Scenario.UNRECOGNIZED if status < 400 else why  # noqa: PLR2004 - 4xx
    return Unknown(
        scenario=scenario,
        http_status=status,
        message=shown(message),
        retry_after_s=retry_after_s,
        latency_ms=latency_ms,
    )


def _refusal(status: int, message: str, *, from_api: bool) -> Scenario:
    for documented, pattern, scenario in _REFUSALS:
        if status == documented and pattern.search(message):
            return scenario
    if status == FORBIDDEN:
        return Scenario.FORBIDDEN
    if status == NOT_FOUND and from_api:
        return Scenario.PUBLISHED_MESSAGE_ID_MISSING
    return Scenario.UNRECOGNIZED
