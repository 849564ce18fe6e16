"""What a send job looks like on the wire: path and body, nothing sent here.

The attributes are those of the vendor's `SmsSendJobSpecification` under their documented names, and names go out
byte for byte: `messageName` is the only key that makes a retry safe, so a cleaned one would be another job.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import orjson

from runner.model import ATTRIBUTES, SendJob

MESSAGES_PATH: Final = "/rest/channels/sms/publishedmessages"
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path

_IN_BODY: Final = tuple(
    (documented, python) for documented, python in ATTRIBUTES.items() if documented != "publishedMessageId"
)


def send_path(published_message_id: str) -> str:
    """The path of the send call below the base URL; the id is quoted, so it stays one segment whatever it holds."""
    return f"{MESSAGES_PATH}/{quote(published_message_id, safe='')}/sendjobs"


def send_body(job: SendJob) -> bytes:
    """The JSON body of the send call, UTF-8: the job's attributes that are not None, without the published id.

    The published id stands in the path. An absent attribute is left out rather than null, because the API documents
    what absence means (`contactSourceId`, `scheduledDate`) and says nothing of null.
    """
    return orjson.dumps(
        {documented: value for documented, python in _IN_BODY if (value := getattr(job, python)) is not None}
    )
