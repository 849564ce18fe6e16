"""Reading what a server answered, whatever it answered: plain functions from bytes to text.

Where an error's message stands is not documented, and between the API and us there may be gateways with pages of
their own, so nothing here raises: what cannot be read becomes readable text as far as possible. Text that goes to the
ledger or a terminal is escaped and bounded (`shown`), while decisions are made on the whole text, since a long
message name must not push "already exists" out of sight.
"""

from __future__ import annotations

import html
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

ANSWER_LIMIT: Final = 1024 * 1024
"""Bytes of an answer that are read; a longer one counts as unreadable."""
MESSAGE_LIMIT: Final = 500
"""Characters of a message that are kept."""
RETRY_AFTER_LIMIT_S: Final = 3600.0

_ID_DIGITS: Final = 40
"""An id of more digits than this is none."""
_LINK_TO_SEND: Final = re.compile(r"/sendjobs/([0-9]{1,40})\Z")
_HTML: Final = re.compile(r"\s*<[a-zA-Z!?/]")
# Each alternative runs to the end where its closing part is missing, so that no input is scanned twice.
_HTML_NOISE: Final = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)|<[^>]*(?:>|\Z)", re.DOTALL | re.IGNORECASE
)
_HTML_READ: Final = 16 * 1024
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Only these: some of Python's codecs are no charsets at all, and others take quadratic time.
_CODECS: Final = re.compile(
    r"(utf-?(8|16|32)|us-?ascii|iso-?8859-?\d{1,2}|windows-?125\d|cp125\d|latin-?1)[-_]?(le|be)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A whole answer, read."""

    text: str = ""
    """Its messages joined by "; ", else its text; as long as it is. Empty for an empty body."""
    document: Any = field(default=None, repr=False)
    """The body as JSON; None where it is none."""
    empty: bool = True

    @property
    def from_api(self) -> bool:
        """Whether the API itself may have said this: a JSON object, or nothing at all, but no page or plain text."""
        return self.empty or isinstance(self.document, dict)


def read(body: bytes, charset: str | None = None) -> Reading:
    """Read a body of any kind.

    Args:
        body: after decompression.
        charset: what Content-Type claims; a wrong or unknown one does no harm.
    """
    if not body.strip():
        return Reading()
    document, text = _document_of(body, charset)
    text = text or body.decode("utf-8", errors="replace")
    if isinstance(document, dict):
        return Reading(text="; ".join(dict.fromkeys(_messages_in(document))) or text, document=document, empty=False)
    return Reading(text=_readable(text), document=document, empty=False)


def message_of(body: bytes, charset: str | None = None) -> str:
    """What a body says, for people: at most 500 characters, control characters escaped.

    Looked for in `meta.generalErrors`, `meta.fieldErrors`, a top-level `message` and `error_description` (all that
    are there, joined by "; "), else it is the text of the body, HTML without its tags.
    """
    return shown(read(body, charset).text)


def shown(text: str) -> str:
    """`text` on one line, fit for a terminal: at most 500 characters, control characters escaped.

    A longer text loses its middle, because errors tend to say what they are about at either end. Idempotent.
    """
    # Cut before escaping too, so that the cost does not grow with the text.
    escaped = _UNPRINTABLE.sub(_escape, _cut(text.strip(), 4 * MESSAGE_LIMIT))
    return _cut(escaped, MESSAGE_LIMIT)


def send_id_of(body: bytes, charset: str | None = None) -> str | None:
    """The id of the send in a 201's body, exactly the digits that the server wrote; None where there is none.

    `data.id` (a number or a string of digits), else the digits at the end of `data.location`. The location counts
    only where it ends in `/sendjobs/<digits>`: a wrong id would be worse than none.
    """
    document, _ = _document_of(body, charset)
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict):
        return None
    value = data.get("id")
    if isinstance(value, float):  # orjson's reading of an integer beyond 64 bits
        value = _exact_id(body)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**_ID_DIGITS else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _ID_DIGITS:
        return value
    location = data.get("location")
    found = _LINK_TO_SEND.search(location[-200:]) if isinstance(location, str) else None
    return found[1] if found else None


def retry_after_of(value: str | None, *, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, 0 to 3600; None where it says nothing readable (RFC 9110, 10.2.3).

    Args:
        value: the header: seconds as digits, or an HTTP date.
        now: with a time zone; what a date is compared with.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_LIMIT_S)  # float, since int refuses digits by the thousand
    try:
        until = parsedate_to_datetime(text[:100])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), RETRY_AFTER_LIMIT_S)


def decompressed(body: bytes, encoding: str) -> bytes | None:
    """`body` without its Content-Encoding; None where that is unknown, damaged, or longer than `ANSWER_LIMIT`.

    We ask for none, so this is for gateways that compress regardless. Never makes more than `ANSWER_LIMIT` + 1 bytes.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            windows = [zlib.MAX_WBITS | 16]
        case "deflate":  # by the RFC with the zlib frame, by many servers without
            windows = [zlib.MAX_WBITS, -zlib.MAX_WBITS]
        case _:
            return None
    for window in windows:
        inflate = zlib.decompressobj(window)
        try:
            plain = inflate.decompress(body, ANSWER_LIMIT + 1)
        except zlib.error:
            continue
        if inflate.eof and len(plain) <= ANSWER_LIMIT:
            return plain
    return None


def _document_of(body: bytes, charset: str | None) -> tuple[Any, str]:
    """The body as JSON (None where it is none), and as text; the text is left empty where it is plain UTF-8 JSON."""
    try:
        return orjson.loads(body), ""
    except orjson.JSONDecodeError:
        text = _text_of(body, charset)
    try:
        return orjson.loads(text.encode("utf-8", errors="replace")), text
    except orjson.JSONDecodeError:
        return None, text


def _text_of(body: bytes, charset: str | None) -> str:
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        codec = "utf-16"
    elif body.startswith(b"\xef\xbb\xbf"):
        codec = "utf-8-sig"
    else:
        codec = (charset or "").strip().strip("\"'").lower()
        if not _CODECS.fullmatch(codec):
            codec = "utf-8"
    try:
        return body.decode(codec, errors="replace")
    except (LookupError, ValueError):
        return body.decode("utf-8", errors="replace")


def _messages_in(document: dict[Any, Any]) -> Iterator[str]:
    meta = document.get("meta")
    if isinstance(meta, dict):
        for entry in _listed(meta.get("generalErrors")):
            yield from _message(entry)
        fields = meta.get("fieldErrors")
        if isinstance(fields, dict):
            for name, entries in fields.items():
                yield from (f"{name}: {text}" for entry in _listed(entries) for text in _message(entry))
        else:
            for entry in _listed(fields):
                yield from _message(entry)
    for key in ("message", "error_description"):
        if isinstance(text := document.get(key), str) and text.strip():
            yield text


def _listed(entries: object) -> list[Any]:
    if entries is None:
        return []
    return entries if isinstance(entries, list) else [entries]


def _message(entry: object) -> Iterator[str]:
    if isinstance(entry, dict) and isinstance(entry.get("message"), str):
        entry = entry["message"]
    if isinstance(entry, str):
        if entry.strip():
            yield entry
    elif entry:
        yield orjson.dumps(entry).decode()


def _readable(text: str) -> str:
    if not _HTML.match(text):
        return text
    return " ".join(html.unescape(_HTML_NOISE.sub(" ", text[:_HTML_READ])).split())


def _exact_id(body: bytes) -> object:
    try:
        # Numbers with a fraction or exponent are no ids, and become None.
        return json.loads(body, parse_float=lambda _: None)["data"]["id"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    tail = limit // 4
    return f"{text[: limit - tail - 3]} … {text[-tail:]}"
