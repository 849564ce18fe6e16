"""A model of the slots' lock files for one run after another: what each run leaves behind for the next.

The real ones (`campaign.slotlocks`) have tests of their own; here thousands of runs a minute start and die.
"""

from __future__ import annotations

import anyio

from runner.campaign.slotlocks import BEAT_S
from runner.campaign.slots import Slots


class SlotState:
    """Until when each slot is taken by what an earlier run left at the server."""

    def __init__(self, limit: int) -> None:
        self._taken_until = [0.0] * limit
        self._opened_at = 0.0
        self._settle_s = 0.0

    def open(self, slots: Slots, *, settle_s: float) -> None:
        """A run starts and gets all locks."""
        now = anyio.current_time()
        self._opened_at = now
        self._settle_s = settle_s
        for number, until in enumerate(self._taken_until):
            slots.add(number, in_s=until - now)

    def closed(self, slots: Slots) -> None:
        """The run says goodbye."""
        now = anyio.current_time()
        for number in range(len(self._taken_until)):
            self._taken_until[number] = slots.lingering.get(number, now)

    def died(self, *, forget: bool) -> None:
        """The run was killed; its last sign of life may be a beat old."""
        now = anyio.current_time()
        sign = now - (now - self._opened_at) % BEAT_S
        for number, until in enumerate(self._taken_until):
            self._taken_until[number] = now if forget else max(until, sign + BEAT_S + self._settle_s)
