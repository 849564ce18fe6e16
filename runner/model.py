"""The words of the project as types: a job, its states, what an attempt may bring, a problem in a file.

Nothing here reads a clock, a file or a socket, and nothing of ours is imported: every room may use these types,
and a decision made on them can be tested without the world. API attributes keep their documented names in files,
bodies and results; here they are the same words in snake_case (`ATTRIBUTES` is the one table between the two).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
INT32_MAX: Final = 2**31 - 1

EXTERNAL_FIELD_LIMIT: Final = 2000
"""Characters allowed in externalSystemName and externalSystemReferenceId (documented outcomes 13 and 14)."""

ATTRIBUTES: Final[dict[str, str]] = {
    "publishedMessageId": "published_message_id",
    "messageName": "message_name",
    "contactSourceId": "contact_source_id",
    "externalSystemName": "external_system_name",
    "externalSystemReferenceId": "external_system_reference_id",
    "scheduledDate": "scheduled_date",
    "preBlockingHours": "pre_blocking_hours",
    "folder": "folder",
}
"""Documented name of each attribute of a send job -> its name in Python, in the order of files and results."""

REQUIRED_ATTRIBUTES: Final = ("publishedMessageId", "messageName")


class JobState(StrEnum):
    """Where a job stands in the ledger, and what a crash leaves behind."""

    INVALID = "invalid"
    """Failed a check; kept with its problems, never sent. After a crash: stays."""
    PENDING = "pending"
    """Staged; the API has surely not accepted it. After a crash: is sent by the next run."""
    IN_DOUBT = "in_doubt"
    """Claimed: a request may have reached the API. After a crash: retried under the same name, after settle."""
    SENT = "sent"
    """The API accepted it. After a crash: stays."""
    REJECTED = "rejected"
    """The API refused it. After a crash: stays, until `retry` makes it pending again."""


class Evidence(StrEnum):
    """Why a job is held to be sent."""

    RESPONSE = "response"
    UNREADABLE_RESPONSE = "unreadable_response"
    NAME_EXISTS = "name_exists"


class Scenario(StrEnum):
    """A named outcome: the documented table of the API, and the ways a request can fail around it."""

    CONTACT_SOURCE_NOT_SMS_ENABLED = "contact_source_not_sms_enabled"
    CONTACT_SOURCE_NOT_FOUND = "contact_source_not_found"
    CONTACT_SOURCE_ACCESS_DENIED = "contact_source_access_denied"
    USER_NOT_SMS_ENABLED = "user_not_sms_enabled"
    PUBLISHED_MESSAGE_NOT_IN_ORG = "published_message_not_in_org"
    FORBIDDEN = "forbidden"
    PUBLISHED_MESSAGE_ID_MISSING = "published_message_id_missing"
    PUBLISHED_MESSAGE_NOT_FOUND = "published_message_not_found"
    INVALID_MESSAGE_NAME = "invalid_message_name"
    MESSAGE_NAME_NOT_UNIQUE = "message_name_not_unique"
    EXTERNAL_SYSTEM_NAME_TOO_LONG = "external_system_name_too_long"
    EXTERNAL_SYSTEM_REFERENCE_ID_TOO_LONG = "external_system_reference_id_too_long"
    UNAUTHORIZED = "unauthorized"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    TIMED_OUT = "timed_out"
    CONNECTION_LOST = "connection_lost"
    CONNECTION_FAILED = "connection_failed"
    UNREADABLE_RESPONSE = "unreadable_response"
    UNRECOGNIZED = "unrecognized"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendJob:
    """One send of a published SMS message. `None` means: the attribute is absent from the request."""

    message_name: str
    """Unique in the org; sent byte for byte (documented outcomes 9 and 11), so it works as the retry key."""
    published_message_id: str
    """UUID in its canonical lower-case form."""
    contact_source_id: int | None = None
    """int64. Absent: the published message's own contact source, its default audience."""
    external_system_name: str | None = None
    external_system_reference_id: str | None = None
    scheduled_date: str | None = None
    """RFC 3339 with milliseconds and offset, as it goes into the body. Absent: send now."""
    pre_blocking_hours: int | None = None
    folder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault of one row (or of the whole file): where, what, which rule, and what to do about it."""

    row: int | None
    """As a spreadsheet numbers it (the header is row 1; for Parquet rows count from 1); None: the whole file."""
    column: str | None
    """The header as the file writes it; None: the row as a whole."""
    value: str | None
    """The cell as read, at most 200 characters of it; None where there is no one value."""
    rule: str
    """What is asked, as a sentence."""
    remedy: str
    """What the operator can do about it, as a sentence."""
    code: str
    """Stable snake_case name of the rule, for tools."""
    scenario: Scenario | None = None
    """The documented outcome the API would have given, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidRow:
    """A row that failed its checks, with its cells as they were read, so that nothing of it is lost."""

    row: int
    cells: dict[str, str]
    """Header as the file writes it -> cell as text; a cell the row lacks is left out."""
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChunk:
    """Some consecutive rows of a file after checking: the good ones column by column, the bad ones one by one.

    All lists but `invalid` have the same length. Columns rather than `SendJob` values, because a million of those
    would cost more than reading the file.
    """

    rows: list[int]
    published_message_id: list[str]
    message_name: list[str]
    contact_source_id: list[int | None]
    external_system_name: list[str | None]
    external_system_reference_id: list[str | None]
    scheduled_date: list[str | None]
    pre_blocking_hours: list[int | None]
    folder: list[str | None]
    others: list[str | None]
    """The row's cells in the file's other columns, as the text of a JSON array in header order; None: none."""
    invalid: list[InvalidRow] = field(default_factory=list)

    def jobs(self) -> list[SendJob]:
        """The good rows as `SendJob` values (for small files, tests and the library's users)."""
        columns = zip(*(getattr(self, name) for name in ATTRIBUTES.values()), strict=True)
        return [SendJob(**dict(zip(ATTRIBUTES.values(), cells, strict=True))) for cells in columns]


# What one attempt may bring. Each is a type of its own, so that no field can be there that makes no sense.


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """201. `send_id` is the server's id as text; None where the answer could not be read."""

    send_id: str | None
    http_status: int = 201
    latency_ms: float
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTaken:
    """400 "A SMS with the name: … already exists" (documented outcome 12)."""

    http_status: int
    message: str
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The API refused the job, surely without processing it. `Scenario.FORBIDDEN` where 403 is not told apart yet."""

    scenario: Scenario
    http_status: int
    message: str
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unauthorized:
    """401: the token was refused; not processed."""

    token: str = field(repr=False)
    """The token that was refused, so that it is renewed once however many requests carried it."""
    message: str
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """429, or a 4xx that speaks of concurrency: not processed, try again later."""

    http_status: int
    message: str
    retry_after_s: float | None
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotConnected:
    """No connection, so no byte of the request left: surely not processed."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Time-out, connection lost, any 5xx, a redirect: nobody can say whether the API accepted the job."""

    scenario: Scenario
    """timed_out, connection_lost, server_error, or unrecognized for a redirect."""
    http_status: int | None
    message: str
    retry_after_s: float | None = None
    latency_ms: float


Outcome = Accepted | NameTaken | Refused | Unauthorized | Throttled | NotConnected | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The books of a batch: every row is in exactly one state."""

    rows: int
    invalid: int = 0
    pending: int = 0
    in_doubt: int = 0
    sent: int = 0
    rejected: int = 0

    @property
    def balanced(self) -> bool:
        """Whether rows = invalid + pending + in doubt + sent + rejected."""
        return self.rows == self.invalid + self.pending + self.in_doubt + self.sent + self.rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedMessage:
    """One entry of the org's list of published messages; fields the API left out are None."""

    id: str
    name: str | None = None
    campaign_name: str | None = None
    contact_source_id: str | None = None
    program_ids: str | None = None
