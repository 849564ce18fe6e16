"""What the API says, as values: a status, a body, headers. Putting them on a wire is left to others.

Where an error's message stands in the body is documented nowhere, so the sandbox does not make up its mind:
documented refusals come as objects in `meta.generalErrors`, the limit's refusal as a string there, faults of single
attributes as lists in `meta.fieldErrors`, and whatever concerns tokens as OAuth's `error_description` (RFC 6749 §5.2).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runner.model import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json;charset=UTF-8"
    headers: tuple[tuple[str, str], ...] = ()


def json_answer(status: int, value: object, *, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An answer with `value` as JSON."""
    return Answer(status=status, body=json.dumps(value, ensure_ascii=False).encode(), headers=headers)


def envelope(
    data: object,
    *,
    general: Sequence[object] = (),
    fields: Mapping[str, Sequence[str]] | None = None,
    next_page_url: str | None = None,
) -> dict[str, Any]:
    """The documented frame around every body: `meta` and `data`."""
    meta = {
        "attributes": {},
        "generalErrors": list(general),
        "fieldErrors": dict(fields or {}),
        "links": [],
        "nextPageUrl": next_page_url,
    }
    return {"meta": meta, "data": data}


def accepted(*, send_id: int, location: str) -> Answer:
    """The 201 of an accepted send."""
    return json_answer(201, envelope({"location": location, "id": send_id}))


def error(status: int, message: str, *, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An error whose message is an object in `meta.generalErrors`."""
    return json_answer(status, envelope(None, general=[{"message": message}]), headers=headers)


def field_error(attribute: str, message: str) -> Answer:
    """A 400 about one attribute of the body."""
    return json_answer(400, envelope(None, fields={attribute: [message]}))


def too_many(status: int, *, limit: int, retry_after_s: int | None) -> Answer:
    """The refusal of one request too many."""
    message = f"Too many concurrent requests: at most {limit} are allowed for an organization."
    headers = () if retry_after_s is None else (("Retry-After", str(retry_after_s)),)
    return json_answer(status, envelope(None, general=[message]), headers=headers)


def oauth_error(status: int, code: str, description: str) -> Answer:
    """An error of the token endpoint."""
    return json_answer(
        status, {"error": code, "error_description": description}, headers=(("Cache-Control", "no-store"),)
    )


UNAUTHORIZED: Final = json_answer(
    401,
    {"error": "invalid_token", "error_description": "The access token is unknown or has expired."},
    headers=(("WWW-Authenticate", 'Bearer error="invalid_token"'),),
)

_NO_SUCH_MESSAGE: Final = "Unable to find published DeliveryDraft with contentId {published_message_id}"

DOCUMENTED: Final[dict[Scenario, tuple[int, str | None]]] = {
    Scenario.CONTACT_SOURCE_NOT_SMS_ENABLED: (400, "Contact source is not enabled for SMS."),
    Scenario.USER_NOT_SMS_ENABLED: (403, "Forbidden"),
    Scenario.CONTACT_SOURCE_NOT_FOUND: (400, "Contact source ID does not exist."),
    Scenario.CONTACT_SOURCE_ACCESS_DENIED: (400, "Contact source access denied"),
    Scenario.PUBLISHED_MESSAGE_ID_MISSING: (404, None),
    Scenario.PUBLISHED_MESSAGE_NOT_FOUND: (400, _NO_SUCH_MESSAGE),
    Scenario.PUBLISHED_MESSAGE_NOT_IN_ORG: (403, "Forbidden"),
    Scenario.INVALID_MESSAGE_NAME: (400, "Invalid message name"),
    Scenario.MESSAGE_NAME_NOT_UNIQUE: (400, "A SMS with the name: {message_name} already exists"),
    Scenario.EXTERNAL_SYSTEM_NAME_TOO_LONG: (400, "Length of External System Name cannot exceed 2000 characters."),
    Scenario.EXTERNAL_SYSTEM_REFERENCE_ID_TOO_LONG: (
        400,
        "Length of External System RefrenceId cannot exceed 2000 characters.",  # the vendor's own spelling
    ),
}
"""The refusals of the documented table in its order, as status and message; rows 6 and 8 are one. None: no message."""


def documented(scenario: Scenario, *, published_message_id: str, message_name: str = "") -> Answer:
    """The documented refusal of `scenario`, which must be one of `DOCUMENTED`."""
    status, message = DOCUMENTED[scenario]
    if message is None:
        return json_answer(status, envelope(None))
    # replace(), not format(): a name may hold braces
    filled = message.replace("{published_message_id}", published_message_id).replace("{message_name}", message_name)
    return error(status, filled)
