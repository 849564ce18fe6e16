"""The org's published messages, asked for once a run and only when an answer needs them to be understood."""

from __future__ import annotations

from typing import Protocol

import anyio

from runner.batch.loop import TokenSource
from runner.campaign.client import TokenRejected
from runner.model import PublishedMessage


class ListingClient(Protocol):
    """What is needed of the API."""

    async def published_messages(self, *, token: str) -> list[PublishedMessage]:
        """The whole list, all its pages."""


class PublishedIds:
    """The list and the ids on it, asked for once however many workers want to know.

    The list of one moment serves the whole run: a message published later would be told as "not in this org", but a
    file of jobs names messages that were there when it was made.
    """

    def __init__(self, client: ListingClient, tokens: TokenSource) -> None:
        self._client = client
        self._tokens = tokens
        self._lock = anyio.Lock()
        self._messages: list[PublishedMessage] | None = None
        self._ids: frozenset[str] = frozenset()

    async def __call__(self) -> frozenset[str]:
        """The ids in lower case, as they are compared.

        Raises:
            ApiError: the list cannot be had; the next caller tries again.
        """
        await self.messages()
        return self._ids

    async def messages(self) -> list[PublishedMessage]:
        """The messages in the order of the API.

        Raises:
            ApiError: the list cannot be had; the next caller tries again.
        """
        async with self._lock:
            if self._messages is None:
                self._messages = await self._list()
                self._ids = frozenset(message.id.lower() for message in self._messages)
            return self._messages

    async def _list(self) -> list[PublishedMessage]:
        try:
            return await self._client.published_messages(token=await self._tokens.get())
        except TokenRejected as refused:
            return await self._client.published_messages(token=await self._tokens.renew(refused.token))
