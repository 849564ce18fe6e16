"""What the sandbox's org has published, and the pages it is listed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from runner.model import PublishedMessage

PAGE_SIZE: Final = 50
"""Entries to a page, as documented."""

_NAMES: Final = (
    "Spring sale: early access for members",
    "Your order is ready for collection",
    "Back in stock: wide-fit walking boots",
    "Weekend offer: 20% off garden furniture",
    "New store opening, Leipzig city centre",
    "Loyalty points about to expire",
)


def message_id(number: int) -> str:
    """The UUID of the `number`-th message of the sandbox, from 1."""
    return f"0a5c0000-0000-4000-8000-{number:012x}"


def believable(count: int) -> tuple[PublishedMessage, ...]:
    """`count` published messages with retail names; the first six are the ones a sandbox lists by default."""
    return tuple(
        PublishedMessage(
            id=message_id(number),
            name=_NAMES[(number - 1) % len(_NAMES)] + (f" ({number})" if number > len(_NAMES) else ""),
            contact_source_id=str(7_180_000 + number),
        )
        for number in range(1, count + 1)
    )


SHOP: Final = believable(len(_NAMES))


def page_of(messages: Sequence[PublishedMessage], number: int) -> tuple[list[dict[str, Any]], bool]:
    """Page `number` (from 1) under the documented names, and whether another one follows."""
    start = (number - 1) * PAGE_SIZE
    entries = [
        {
            "id": message.id,
            "name": message.name,
            "campaignName": message.campaign_name,
            "contactSourceId": message.contact_source_id,
            "programIds": message.program_ids,
        }
        for message in messages[start : start + PAGE_SIZE]
    ]
    return entries, len(messages) > start + PAGE_SIZE
