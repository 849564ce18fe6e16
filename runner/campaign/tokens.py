"""Access tokens: got once, kept for as long as the vendor wants them kept, renewed once for all who need one.

A token lives four hours. Asked again within three of its grant the endpoint gives the same one, and asking more often
than that can get an org blocked; after three hours a new one is granted while the old one lives on. So a token is
used for three hours and then renewed early. Should that fail, the old one does for its last hour, with a new try
every few minutes, and only when it is over are those who need a token made to wait or to fail.

Of all who need a new token at the same time one asks; the others wait and share what it brings, a failure included,
or ten workers would each go through all the tries in turn. Tokens are asked for through `request`, which takes a
slot of its own: nobody may hold a slot while waiting here.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
import structlog

from runner.campaign.backoff import Backoff
from runner.campaign.exchange import Ending
from runner.campaign.grants import token_of
from runner.campaign.token_file import Token, TokenFile
from runner.errors import ApiError

RENEW_AFTER_S: Final = 3 * 3600.0
"""The vendor's rule: a new token is granted, and may be asked for, when the old one is three hours old."""
RENEW_AFTER_SHARE: Final = 0.75
"""The same for tokens of another life than the documented four hours: never later than at this share of it."""
LAST_MOMENTS_S: Final = 60.0
"""A token this close to its end (a tenth of its life at most) is not handed out: a request may outlive it."""
EARLY_AGAIN_S: Final = 300.0
"""Seconds between two tries to renew a token that still lives."""
CLOCK_SLACK_S: Final = 300.0
"""A token on disk that was granted this far in the future is none: a clock was wrong."""

log = structlog.get_logger()


def is_fresh(token: Token, now: float) -> bool:
    """Whether the token is to be used without asking for another: younger than 3 h and 3/4 of its life."""
    return (
        token.granted_at - CLOCK_SLACK_S
        <= now
        < token.granted_at + min(RENEW_AFTER_S, token.expires_in * RENEW_AFTER_SHARE)
    )


def is_alive(token: Token, now: float) -> bool:
    """Whether the token can be used at all: not at its end, nor granted in the future."""
    last_moments = min(LAST_MOMENTS_S, token.expires_in / 10)
    return token.granted_at - CLOCK_SLACK_S <= now < token.expires_at - last_moments


class Tokens:
    """The access token of one org, in memory and on disk.

    Args:
        base_url: from `pods.base_url_of`; part of the cache's key.
        client_id: the three credentials; they are sent to the token endpoint and shown nowhere.
        client_secret: as above.
        refresh_token: as above.
        cache_dir: where the token is kept between runs; None: in memory only.
        request: makes one token request from the form's fields, in a slot (`CampaignClient.request_token`).
        wall: seconds since the epoch.
        backoff: how often a failing request is repeated.
    """

    def __init__(
        self,
        *,
        base_url: str,
        client_id: str,
        client_secret: str,
        refresh_token: str,
        cache_dir: Path | None,
        request: Callable[[Mapping[str, str]], Awaitable[Ending]],
        wall: Callable[[], float] = time.time,
        backoff: Backoff | None = None,
    ) -> None:
        self._form: Final = {
            "grant_type": "refresh_token",
            "client_id": client_id,
            "client_secret": client_secret,
            "refresh_token": refresh_token,
        }
        self._request = request
        self._wall = wall
        self._backoff = backoff or Backoff()
        self._file: TokenFile | None = None
        if cache_dir is not None:
            self._file = TokenFile(
                cache_dir,
                base_url=base_url,
                client_id=client_id,
                refresh_token=refresh_token,
                sleep=self._backoff.sleep,
            )
        self._token: Token | None = None
        self._not_before = 0.0
        """No try to renew a token that still lives before this time."""
        self._given_again: str | None = None
        """A token that the API refused and the endpoint gave again: asking once more would bring it once more."""
        self._lock = anyio.Lock()
        self._rounds = 0
        self._failure: ApiError | None = None
        """How the last round failed; None: it did not."""

    async def get(self) -> str:
        """The token to use now: from memory, else from disk, else asked for.

        Raises:
            TokenRefusedError: the credentials were refused.
            TokenUnavailableError: the endpoint could not be reached or kept failing, after all tries.
        """
        return (await self.current()).value

    async def current(self) -> Token:
        """As `get`, with the token's time.

        Raises:
            TokenRefusedError: as `get`.
            TokenUnavailableError: as `get`.
        """
        token = self._token
        if token is not None:
            now = self._wall()
            if is_fresh(token, now):
                return token
            if is_alive(token, now) and (now < self._not_before or self._lock.statistics().locked):
                return token  # it was tried a moment ago, or somebody is at it: no reason to wait
        return await self._shared(None)

    async def renew(self, refused: str) -> str:
        """Another token than `refused`, which the API did not accept; one request for all who come with the same.

        When the endpoint insists and gives the refused token again, that one is returned: the caller sees by its
        value that no other is to be had.

        Raises:
            TokenRefusedError: the credentials were refused.
            TokenUnavailableError: the endpoint could not be reached or kept failing, after all tries.
        """
        return (self._other_than(refused) or await self._shared(refused)).value

    def _other_than(self, refused: str | None) -> Token | None:
        token = self._token
        if token is None or not is_alive(token, self._wall()):
            return None
        return token if token.value != refused or refused == self._given_again else None

    async def _shared(self, refused: str | None) -> Token:
        """One round for all who wait. A cancelled one leaves no trace: the next in line makes it anew."""
        seen = self._rounds
        async with self._lock:
            if self._rounds != seen:  # others finished a round while this caller waited
                if self._failure is not None:
                    failure = self._failure  # a copy, since each raise adds a traceback to its exception
                    raise type(failure)(failure.what, cause=failure.cause, remedy=failure.remedy)
                if (token := self._other_than(refused)) is not None:
                    return token
            try:
                self._token = await self._round(refused)
            except ApiError as error:
                self._failure = error
                self._rounds += 1
                raise
            self._failure = None
            self._rounds += 1
            return self._token

    async def _round(self, refused: str | None) -> Token:
        async with contextlib.nullcontext() if self._file is None else self._file.locked():
            now = self._wall()
            on_disk = None if self._file is None else self._file.load()
            known = [token for token in (self._token, on_disk) if token is not None and is_alive(token, now)]
            others = [token for token in known if token.value != refused]
            old = max(others, key=lambda token: token.granted_at, default=None)
            if old is not None and (refused is not None or is_fresh(old, now)):
                return old
            if old is not None and now < self._not_before:
                return old
            try:
                new = await self._ask(patient=old is None)
            except ApiError as error:
                if old is None:
                    raise
                log.warning("token_renewal_postponed", reason=error.what, lives_for_s=round(old.expires_at - now))
                self._not_before = now + EARLY_AGAIN_S
                return old
            same = next((token for token in known if token.value == new.value), None)
            if same is not None:
                # Its time counts from when it was first given to us, whatever this answer says.
                life = min(new.expires_at, same.expires_at) - same.granted_at
                new = replace(new, granted_at=same.granted_at, expires_in=life)
                self._not_before = now + EARLY_AGAIN_S
            if new.value == refused:
                self._given_again = refused
            if self._file is not None:
                self._file.save(new)
            log.info("token_renewed", again_the_same=same is not None, expires_in_s=round(new.expires_at - now))
            return new

    async def _ask(self, *, patient: bool) -> Token:
        secrets = (self._form["client_secret"], self._form["refresh_token"], self._form["client_id"])
        failures = 0
        while True:
            asked_at = self._wall()
            log.info("token_requested")
            result = token_of(await self._request(self._form), asked_at=asked_at, secrets=secrets)
            if isinstance(result, Token):
                return result
            failures += 1
            wait_s = None
            if result.again and patient:
                wait_s = self._backoff.wait_s(failures, retry_after_s=result.retry_after_s)
            if wait_s is None:
                raise result.error
            log.warning("token_request_failed", reason=result.error.what, next_try_in_s=round(wait_s, 1))
            await self._backoff.sleep(wait_s)
