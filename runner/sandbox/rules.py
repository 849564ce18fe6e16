"""The documented rules of a send request, read a second time: what is wrong with it, or what it asks for.

Pure functions. The shape of the body comes from the vendor's service description (`SmsSendJobSpecification`), the
lengths and the messages from the documented table of outcomes. Where both are silent the sandbox is strict about form
(an unknown attribute, a number written as text, a null) and generous about content (any name, any contact source).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from runner.model import EXTERNAL_FIELD_LIMIT, INT32_MAX, INT64_MAX, INT64_MIN, Scenario
from runner.sandbox.answers import Answer, documented, error, field_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Specification:
    """A send request without a fault in it."""

    message_name: str
    published_message_id: str
    reference: str
    """externalSystemReferenceId, empty where the body has none."""
    body: bytes
    """As received."""


_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# RFC 3339 §5.6; that letters may be small is its own note.
_RFC_3339: Final = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt](?P<hour>[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def read_specification(content: bytes, *, content_type: str, published_message_id: str) -> Specification | Answer:
    """What the request asks for, or the answer that says what is wrong with it.

    Args:
        content: the body as received.
        content_type: the media type without parameters, in lower case.
        published_message_id: as in the path, percent-decoded; empty where the path has none (documented outcome 5).

    """
    if not published_message_id:
        return documented(Scenario.PUBLISHED_MESSAGE_ID_MISSING, published_message_id="")
    if content_type != "application/json":
        return error(415, "The body must be sent as application/json.")
    try:
        body = json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return error(400, "The body is not valid JSON.")
    if not isinstance(body, dict):
        return error(400, "The body must be a JSON object.")
    fault = _fault_of(body) or _documented_fault_of(body, published_message_id)
    if fault is not None:
        return fault
    return Specification(
        message_name=body["messageName"],
        published_message_id=published_message_id,
        reference=body.get("externalSystemReferenceId", ""),
        body=content,
    )


def _fault_of(body: dict[str, Any]) -> Answer | None:
    """A fault of form: an attribute that is unknown, missing or of the wrong type."""
    for attribute, value in body.items():
        rule = _TYPES.get(attribute)
        if rule is None:
            return field_error(attribute, f"Unrecognized attribute: {attribute}")
        fits, wanted = rule
        if not fits(value):
            return field_error(attribute, f"{attribute} must be {wanted}.")
    if "messageName" not in body:
        return field_error("messageName", "messageName is required.")
    return None


def _documented_fault_of(body: dict[str, Any], published_message_id: str) -> Answer | None:
    """A fault of content, as the documented table has it. Names are neither trimmed nor cleaned (outcomes 9 and 11)."""
    name: str = body["messageName"]
    if not name.strip(" "):
        scenario = Scenario.INVALID_MESSAGE_NAME
    elif len(body.get("externalSystemName", "")) > EXTERNAL_FIELD_LIMIT:
        scenario = Scenario.EXTERNAL_SYSTEM_NAME_TOO_LONG
    elif len(body.get("externalSystemReferenceId", "")) > EXTERNAL_FIELD_LIMIT:
        scenario = Scenario.EXTERNAL_SYSTEM_REFERENCE_ID_TOO_LONG
    elif not _UUID.fullmatch(published_message_id):
        scenario = Scenario.PUBLISHED_MESSAGE_NOT_FOUND
    else:
        return None
    return documented(scenario, published_message_id=published_message_id, message_name=name)


def _is_text(value: object) -> bool:
    # Half of a surrogate pair can be written in JSON, but it is no character and could not be given back.
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_long(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and INT64_MIN <= value <= INT64_MAX


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -INT32_MAX - 1 <= value <= INT32_MAX


def _is_date(value: object) -> bool:
    match = _RFC_3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return False
    try:
        datetime.fromisoformat(match["date"])
    except ValueError:
        return False
    return True


_TEXT: Final = (_is_text, "a string")
_TYPES: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "messageName": _TEXT,
    "contactSourceId": (_is_long, "a number of 64 bits"),
    "externalSystemName": _TEXT,
    "externalSystemReferenceId": _TEXT,
    "scheduledDate": (_is_date, "a date and time as of RFC 3339, such as 1970-01-01T00:00:00.000+00:00"),
    "preBlockingHours": (_is_int, "a number of 32 bits"),
    "folder": _TEXT,
}
"""The attributes of the body: what a value must be, as a test and in words."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("an attribute stands twice")
    return names


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
