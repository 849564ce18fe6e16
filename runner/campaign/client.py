"""The calls of the API, each inside a slot: send a job, list what is published, ask for a token.

A send never raises for anything the network or the server does; how it ended is its outcome, and what follows from
that is decided elsewhere. The list and the token are means to an end: the list is tried again here, and what stays
wrong is an `ApiError`; the token's tries are the business of `tokens`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode

import structlog
from multidict import CIMultiDict
from yarl import URL

from runner.campaign.answers import send_id_of
from runner.campaign.backoff import Backoff
from runner.campaign.bodies import MESSAGES_PATH, TOKEN_PATH, send_body, send_path
from runner.campaign.exchange import Answer, CutAnswer, Ending, Exchange, HeldSlot, NoAnswer, SlotSource
from runner.campaign.published import TokenRejected, Trouble, body_or_trouble, next_page, page_of
from runner.campaign.scenarios import CREATED, classify, classify_cut
from runner.errors import ApiError
from runner.model import NotConnected, Outcome, PublishedMessage, SendJob, Unknown

__all__ = ["CampaignClient", "HeldSlot", "SlotSource", "TokenRejected"]

PAGES_LIMIT: Final = 1000
"""Pages of the list that are read at most, 50,000 messages."""
LIST_TRIES: Final = 5
_URLS_KEPT: Final = 1024

log = structlog.get_logger()


class CampaignClient:
    """One org's API. An async context manager: it owns its connections.

    Args:
        base_url: from `pods.base_url_of`; a path in it is kept.
        slots: one is held for each request, whichever it is; nobody may hold one while asking for a token.
        timeout_s: for one request, from having its slot to the end of the answer.
        settle_s: after this time a request that was given up on is taken to be over at the server; its slot stays
            taken until then.
        user_agent: for the header of that name.
        environ: where proxy and certificates are looked up, once, on entering; None: the process's environment.
        wall: seconds since the epoch, for dates in Retry-After.
        backoff: for the list, which is asked for again when it fails; None: five tries.

    Raises:
        ConfigurationError: on entering; a proxy or certificate variable is set to what cannot be used.
    """

    def __init__(
        self,
        *,
        base_url: str,
        slots: SlotSource,
        timeout_s: float,
        settle_s: float,
        user_agent: str,
        environ: Mapping[str, str] | None = None,
        wall: Callable[[], float] = time.time,
        backoff: Backoff | None = None,
    ) -> None:
        self._exchange = Exchange(
            base_url=base_url,
            slots=slots,
            timeout_s=timeout_s,
            settle_s=settle_s,
            user_agent=user_agent,
            environ=environ,
            wall=wall,
        )
        self._backoff = backoff or Backoff(tries=LIST_TRIES)
        self._send_urls: dict[str, URL] = {}
        self._send_headers: tuple[str, CIMultiDict[str]] = ("", CIMultiDict())

    async def __aenter__(self) -> Self:
        await self._exchange.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exchange.__aexit__(kind, error, trace)

    async def send(
        self, job: SendJob, *, token: str, held: AbstractAsyncContextManager[HeldSlot] | None = None
    ) -> Outcome:
        """Make one send request and tell what came of it.

        Never raises for anything the network or the server does; a cancellation comes through, and the job is in
        doubt then.

        Args:
            job: has passed its checks.
            token: from `Tokens.get`, got before the slot was taken.
            held: the slot, which may have been taken already; it is given back in any case. None: the next one free.
        """
        ending = await self._exchange.ask(
            "POST",
            self._send_url(job.published_message_id),
            headers=self._headers_with(token),
            data=send_body(job),
            slot=held,
        )
        match ending:
            case Answer(status=status, reading=reading, latency_ms=latency_ms):
                send_id = send_id_of(ending.body) if status == CREATED else None
                note = "" if send_id else "the answer holds no id" if status == CREATED else reading.text
                return classify(
                    status,
                    note,
                    latency_ms=latency_ms,
                    retry_after_s=ending.retry_after_s,
                    send_id=send_id,
                    token=token,
                    from_api=reading.from_api,
                )
            case CutAnswer():
                return classify_cut(
                    ending.status,
                    ending.why,
                    ending.message,
                    latency_ms=ending.latency_ms,
                    retry_after_s=ending.retry_after_s,
                    token=token,
                )
            case NoAnswer():
                return Unknown(
                    scenario=ending.why, http_status=None, message=ending.message, latency_ms=ending.latency_ms
                )
            case NotConnected():
                return ending

    async def published_messages(self, *, token: str) -> list[PublishedMessage]:
        """All published messages of the org, in its order.

        Throttles, 5xx, time-outs and connections lost or refused are tried again with backoff, page by page.

        Raises:
            TokenRejected: the token was refused (401); no try is repeated.
            ApiError: it was refused otherwise, kept failing, cannot be read, or does not come to an end.
        """
        url = URL(self._exchange.base_url + MESSAGES_PATH, encoded=True)
        messages: list[PublishedMessage] = []
        seen: set[URL] = set()
        while len(seen) < PAGES_LIMIT:
            seen.add(url)
            page = page_of(await self._listed(url, token))
            messages += page.messages
            if page.next_url is None:
                return messages
            url = next_page(url, page.next_url)
            if url in seen:
                raise ApiError(
                    "The list of published messages leads back to a page that was read before.",
                    remedy="Try again later; if it stays so, report it to the API's support.",
                )
        raise ApiError(f"The list of published messages did not end within {PAGES_LIMIT} pages.")

    async def request_token(self, form: Mapping[str, str]) -> Ending:
        """Make one token request from the form's fields and tell how it ended; what it means is `grants`' business."""
        return await self._exchange.ask(
            "POST",
            URL(self._exchange.base_url + TOKEN_PATH, encoded=True),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            data=urlencode(form).encode("ascii"),
        )

    async def _listed(self, url: URL, token: str) -> bytes:
        failures = 0
        while True:
            ending = await self._exchange.ask("GET", url, headers={"Authorization": f"Bearer {token}"})
            trouble = body_or_trouble(ending, token=token)
            if not isinstance(trouble, Trouble):
                return trouble
            failures += 1
            wait_s = self._backoff.wait_s(failures, retry_after_s=trouble.retry_after_s) if trouble.may_pass else None
            if wait_s is None:
                raise trouble.error
            log.warning("published_messages_failed", reason=trouble.error.what, next_try_in_s=round(wait_s, 1))
            await self._backoff.sleep(wait_s)

    def _send_url(self, published_message_id: str) -> URL:
        url = self._send_urls.get(published_message_id)
        if url is None:
            if len(self._send_urls) >= _URLS_KEPT:
                self._send_urls.clear()
            url = URL(self._exchange.base_url + send_path(published_message_id), encoded=True)
            self._send_urls[published_message_id] = url
        return url

    def _headers_with(self, token: str) -> CIMultiDict[str]:
        if self._send_headers[0] != token:
            headers = CIMultiDict({"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
            self._send_headers = (token, headers)
        return self._send_headers[1]
