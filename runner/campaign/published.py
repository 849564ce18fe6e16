"""The list of published messages, page by page: plain functions from an answer to messages and the next address.

Only the fields of an entry are documented, not where in the body the list stands, so it is looked for. The next
page's address comes from the server and is given the token, so it is followed on the same scheme, host and port only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from yarl import URL

from runner.campaign.answers import read, shown
from runner.campaign.exchange import Answer, CutAnswer, Ending
from runner.campaign.scenarios import REQUEST_TIMEOUT, UNAUTHORIZED, means_slow_down
from runner.errors import ApiError, TokenRefusedError
from runner.model import PublishedMessage

_DEEPEST: Final = 3


class TokenRejected(TokenRefusedError):  # noqa: N818 - rather a step than an error: the caller renews and asks again
    """The list was refused the access token (401): renew it and ask again, once."""

    def __init__(self, token: str) -> None:
        super().__init__(
            "The list of published messages was refused the access token (HTTP 401).",
            remedy="Run the command again; it asks for a new token first.",
        )
        self.token = token
        """The token that was refused; in no text of this exception."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a request for a page brought none."""

    error: ApiError
    """What to raise when no more tries are made."""
    may_pass: bool
    """Whether the same request may fare better later."""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list."""

    messages: list[PublishedMessage]
    next_url: str | None
    """As the server wrote it; None on the last page."""


def page_of(body: bytes) -> Page:
    """Read one page. Entries without an id are left out; an id is in lower case, as in a `SendJob`.

    Raises:
        ApiError: the body holds no list.
    """
    document = read(body).document
    entries = _list_in(document)
    if entries is None:
        raise ApiError(
            "The list of published messages cannot be read: the answer holds no list.",
            cause=f"The answer begins with: {shown(read(body).text)[:100]}" if body.strip() else "The answer is empty.",
            remedy="Check pod or base_url: the address may not be that of the API.",
        )
    messages = [_message(entry) for entry in entries if isinstance(entry, dict) and _text(entry.get("id"))]
    return Page(messages=messages, next_url=_next_in(document))


def next_page(current: URL, next_url: str) -> URL:
    """The next page's address, relative to `current` where it is written so.

    Raises:
        ApiError: it leads to another scheme, host or port, or is no address.
    """
    try:
        url = current.join(URL(next_url))
        same = _origin(url) == _origin(current) and url.user is None and url.password is None
    except (ValueError, TypeError):
        same = False
    if not same:
        raise ApiError(
            f"The list of published messages goes on at an address that is not the API's: {shown(next_url)[:200]}",
            cause="The token would be sent there, so it is not followed.",
            remedy="Check that pod or base_url is the address the org's API has today.",
        )
    return url.with_fragment(None)


def body_or_trouble(ending: Ending, *, token: str) -> bytes | Trouble:
    """How a request for a page, made with `token`, ended: with its body, or with what is wrong."""
    if not isinstance(ending, Answer | CutAnswer):
        return Trouble(error=_unreadable(ending.message, may_pass=True), may_pass=True)
    status, text = ending.status, ending.reading.text if isinstance(ending, Answer) else ending.message
    if isinstance(ending, Answer) and status == 200:  # noqa: PLR2004 - the one code of success
        return ending.body
    cut_page = isinstance(ending, CutAnswer) and status < 400  # noqa: PLR2004 - 4xx
    may_pass = cut_page or status >= 500 or status == REQUEST_TIMEOUT or means_slow_down(status, text)  # noqa: PLR2004
    if status == UNAUTHORIZED and not may_pass:
        return Trouble(error=TokenRejected(token), may_pass=False)
    what = f"HTTP {status}: {shown(text)}" if text else f"HTTP {status}"
    return Trouble(error=_unreadable(what, may_pass=may_pass), may_pass=may_pass, retry_after_s=ending.retry_after_s)


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.host, url.port  # the port is the scheme's own where none is written


def _unreadable(what: str, *, may_pass: bool) -> ApiError:
    return ApiError(
        f"The list of published messages could not be read ({what}).",
        cause="The network, a proxy or the API is failing."
        if may_pass
        else "The user may not read it, or the address is not that of the API.",
        remedy="Check pod or base_url and the proxy variables, and try again later.",
    )


def _list_in(document: Any, depth: int = 0) -> list[Any] | None:  # noqa: ANN401 - JSON
    if isinstance(document, list):
        return document
    if not isinstance(document, dict) or depth == _DEEPEST:
        return None
    if "data" in document:
        return _list_in(document["data"], depth + 1)
    lists = [value for key, value in document.items() if isinstance(value, list) and key != "meta"]
    return lists[0] if len(lists) == 1 else None


def _next_in(document: Any) -> str | None:  # noqa: ANN401 - JSON
    meta = document.get("meta") if isinstance(document, dict) else None
    url = meta.get("nextPageUrl") if isinstance(meta, dict) else None
    return url if isinstance(url, str) and url.strip() else None


def _message(entry: dict[Any, Any]) -> PublishedMessage:
    programs = entry.get("programIds")
    return PublishedMessage(
        id=(_text(entry["id"]) or "").lower(),
        name=_text(entry.get("name")),
        campaign_name=_text(entry.get("campaignName")),
        contact_source_id=_text(entry.get("contactSourceId")),
        program_ids=",".join(str(one) for one in programs) if isinstance(programs, list) else _text(programs),
    )


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) or None
