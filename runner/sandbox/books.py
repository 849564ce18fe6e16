"""What the sandbox has accepted, and which names are gone.

Accepted sends are a list, not a table by name: a send that was accepted twice must show twice, or nobody could see
that it went out twice.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from runner.sandbox.rules import Specification

FIRST_SEND_ID: Final = 4_396_816


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedSend:
    """One acceptance of one send."""

    message_name: str
    id: int
    published_message_id: str
    """As the path had it."""
    body: bytes
    """As received."""
    at: float
    """Seconds since the epoch."""
    count: int
    """How many times a send of this name has been accepted in all; more than 1 is what must never be."""

    def as_json(self) -> dict[str, Any]:
        """The same under the API's names, for `GET /sandbox/accepted`."""
        return {
            "messageName": self.message_name,
            "id": self.id,
            "publishedMessageId": self.published_message_id,
            "body": json.loads(self.body),
            "at": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds"),
            "count": self.count,
        }


class Books:
    """Names and acceptances. For one event loop; nothing here awaits, so a check and what follows it are one step."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._accepted: list[tuple[Specification, float]] = []
        self._times: Counter[str] = Counter()
        self._met: set[tuple[str, str]] = set()

    def is_taken(self, name: str) -> bool:
        """Whether a send of exactly this name has been accepted, or has reserved it."""
        return name in self._names

    def reserve(self, name: str) -> None:
        """Nobody else gets this name from now on."""
        self._names.add(name)

    def accept(self, specification: Specification, *, at: float) -> int:
        """Write a send down, whatever is there already; its id."""
        self.reserve(specification.message_name)
        self._accepted.append((specification, at))
        self._times[specification.message_name] += 1
        return FIRST_SEND_ID + len(self._accepted) - 1

    def meet(self, what: str, name: str) -> bool:
        """Whether this is the first time that `what` is asked for a send of this name."""
        first = (what, name) not in self._met
        self._met.add((what, name))
        return first

    @property
    def accepted_count(self) -> int:
        """How many acceptances there are."""
        return len(self._accepted)

    @property
    def accepted_twice_count(self) -> int:
        """How many names were accepted more than once."""
        return len(self._accepted) - len(self._times) and sum(times > 1 for times in self._times.values())

    def accepted(self) -> list[AcceptedSend]:
        """Every acceptance, in order."""
        return [
            AcceptedSend(
                message_name=specification.message_name,
                id=FIRST_SEND_ID + index,
                published_message_id=specification.published_message_id,
                body=specification.body,
                at=at,
                count=self._times[specification.message_name],
            )
            for index, (specification, at) in enumerate(self._accepted)
        ]
