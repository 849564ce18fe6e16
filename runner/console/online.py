"""What is asked of the org besides sending: the list of its published messages."""

from __future__ import annotations

from runner.batch.run import Folders, in_event_loop, open_api
from runner.jobs.checks import FileCheck
from runner.model import PublishedMessage
from runner.settings import Settings


def published(settings: Settings) -> list[PublishedMessage]:
    """The org's published messages.

    Raises:
        ConfigurationError: credentials are missing.
        ApiError: the list cannot be had.
    """

    async def ask() -> list[PublishedMessage]:
        async with open_api(settings, Folders.of_user()) as api:
            return await api.published.messages()

    return in_event_loop(ask)


def unpublished(source: FileCheck, settings: Settings) -> dict[str, int]:
    """Message ids of good rows that the org has not published -> how many rows would send them.

    Raises:
        ConfigurationError, ApiError: as `published`.
    """
    known = {message.id.lower() for message in published(settings)}
    missing: dict[str, int] = {}
    for chunk in source.chunks():
        for message_id in chunk.published_message_id:
            if message_id not in known:
                missing[message_id] = missing.get(message_id, 0) + 1
    return missing
