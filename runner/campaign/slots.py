"""The right to have one request at the org's API: at most ten at once, counted where it matters, at the server.

A slot is a number below the limit, and `Slots.hold` lends one out through an asyncio semaphore. Three things can keep
a slot from being lent, and each of them is the same act, not putting its number back:

*lingering*: a request that the client gave up on may still be running at the server, so its slot comes back only
when that is surely over (`HeldSlot.linger`).

*the governor*: a refusal for concurrency says that others of the org are using the API. Each takes one slot away
(one for all the refusals of requests that were under way together, or one burst would take them all) and time gives
it back, one at a time, more slowly after each probe that was refused again: additive increase, multiplicative wait.

*other runs on this machine*: with a `SlotLocks` (slotlocks.py) a slot is only usable while its lock is held.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self

GIVE_BACK_AFTER_S: Final = 5.0
"""Seconds after a refusal for concurrency until the governor first tries with one slot more."""
GIVE_BACK_LONGEST_S: Final = 320.0
"""The wait doubles with each refused probe, up to this many seconds."""


class SlotLocks(Protocol):
    """Who else on this machine has slots of the same org (implemented over lock files in slotlocks.py)."""

    def surplus(self) -> bool:
        """Whether this run has more slots than its share, so that a free one should go to another run."""

    def give_up(self, number: int) -> None:
        """Let another run have the slot; it is not in use."""


class Slots:
    """At most `limit` slots, lent out one by one.

    Args:
        limit: slots there are, 1 to 10.
        on_change: called with (in use, usable) whenever the governor changes its mind; for logs.
    """

    def __init__(self, limit: int, *, on_change: Callable[[int, int], None] | None = None) -> None:
        self.limit: Final = limit
        self.in_use = 0
        """Requests under way, or given up on and perhaps still running at the server."""
        self.most_in_use = 0
        self.lingering: dict[int, float] = {}
        """Slot -> the loop time at which it is free again."""
        self._free: deque[int] = deque()
        self._ready = asyncio.Semaphore(0)
        self._locks: SlotLocks | None = None
        self._on_change = on_change
        # The governor: `_parked` are usable slots it keeps back, `_target` how many may be lent.
        self._target = limit
        self._owned: set[int] = set()
        self._parked: list[int] = []
        self._epoch = 0
        self._wait_s = GIVE_BACK_AFTER_S
        self._raise_at = 0.0

    @classmethod
    def in_process(cls, limit: int, *, on_change: Callable[[int, int], None] | None = None) -> Self:
        """Slots that only this process knows of, all usable at once."""
        slots = cls(limit, on_change=on_change)
        for number in range(limit):
            slots.add(number)
        return slots

    def share_by(self, locks: SlotLocks) -> None:
        """From now on `locks` decides which slots are usable: it calls `add`, and is asked before a slot is kept."""
        self._locks = locks

    def add(self, number: int, *, in_s: float = 0.0) -> None:
        """Make a slot usable, now or in `in_s` seconds, when a request of an earlier holder is surely over."""
        self._owned.add(number)
        if in_s > 0:
            self.in_use += 1
            self._return(number, in_s)
        else:
            self._put_back(number)

    async def reclaim(self) -> None:
        """Hand slots that lie idle, and should go to another run, to it."""
        while self._locks is not None and self._locks.surplus():
            if self._parked:
                self._give_up(self._parked.pop())
            elif not self._ready.locked():
                await self._ready.acquire()  # does not wait: locked() has just said so
                self._give_up(self._free.popleft())
            else:
                return  # all are at work; each passes by `_put_back` when it is done

    @property
    def usable(self) -> int:
        """How many slots this process may use now: owned, and left to it by the governor."""
        return min(self._target, len(self._owned))

    @property
    def idle(self) -> frozenset[int]:
        """Slots with no request under way, nor one given up on."""
        return frozenset((*self._free, *self._parked))

    @property
    def available(self) -> bool:
        """Whether a slot can be had without waiting."""
        return not self._ready.locked()

    def hold(self) -> HeldSlot:
        """Wait for a slot and hold it: ``async with slots.hold() as held: …``."""
        return HeldSlot(self)

    def refused(self, epoch: int) -> None:
        """Take one slot away: the API refused a request, lent at `epoch`, because too many were under way."""
        if epoch != self._epoch:
            return  # lent before the last change: that refusal is already accounted for
        self._epoch += 1
        now = asyncio.get_running_loop().time()
        self._raise_at = now + self._wait_s
        self._wait_s = min(self._wait_s * 2, GIVE_BACK_LONGEST_S)
        if self.usable > 1:
            self._target = self.usable - 1
            self._changed()

    async def _take(self) -> int:
        await self._ready.acquire()
        return self._took(self._free.popleft())

    def _took(self, number: int) -> int:
        self.in_use += 1
        self.most_in_use = max(self.most_in_use, self.in_use)
        return number

    def _return(self, number: int, linger_s: float) -> None:
        if linger_s > 0:
            loop = asyncio.get_running_loop()
            self.lingering[number] = loop.time() + linger_s
            loop.call_later(linger_s, self._lingered, number)
        else:
            self._returned(number)

    def _lingered(self, number: int) -> None:
        del self.lingering[number]
        self._returned(number)

    def _returned(self, number: int) -> None:
        self.in_use -= 1
        if self._target < self.limit:
            self._maybe_raise()
        self._put_back(number)

    def _maybe_raise(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._raise_at:
            return
        self._target += 1
        self._epoch += 1
        self._raise_at = now + self._wait_s
        if self._target == self.limit:
            self._wait_s = GIVE_BACK_AFTER_S
        self._changed()
        if self._parked:
            self._lend(self._parked.pop())

    def _put_back(self, number: int) -> None:
        if self._locks is not None and self._locks.surplus():
            self._give_up(number)
        elif len(self._owned) - len(self._parked) > self._target:
            self._parked.append(number)
        else:
            self._lend(number)

    def _give_up(self, number: int) -> None:
        assert self._locks is not None  # noqa: S101 - only those with locks have a surplus
        self._owned.discard(number)
        self._locks.give_up(number)

    def _lend(self, number: int) -> None:
        self._free.append(number)
        self._ready.release()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change(self.in_use, self.usable)


class HeldSlot:
    """One slot, from entering to leaving the block.

    Whoever must be able to give up waiting calls `take` before the block, and either enters it or calls `give_back`;
    entering alone waits as long as it takes.
    """

    __slots__ = ("_epoch", "_linger_s", "_number", "_slots")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._linger_s = 0.0
        self._number: int | None = None
        self._epoch = 0

    async def take(self) -> None:
        """Wait for a slot. Cancelled: none is held."""
        self._got(await self._slots._take())  # noqa: SLF001 - two halves of one thing

    def give_back(self) -> None:
        """Give the slot back unused; nothing happens if none is held."""
        if self._number is not None:
            self._slots._return(self._number, 0.0)  # noqa: SLF001
            self._number = None

    def linger(self, seconds: float) -> None:
        """Keep the slot taken for `seconds` after the block: the request may still be running at the server."""
        self._linger_s = max(self._linger_s, seconds)

    def refused(self) -> None:
        """Tell the governor that the API refused this request because too many were under way."""
        self._slots.refused(self._epoch)

    async def __aenter__(self) -> Self:
        if self._number is None:
            await self.take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._number is not None:
            self._slots._return(self._number, self._linger_s)  # noqa: SLF001
            self._number = None

    def _got(self, number: int) -> None:
        self._number = number
        self._epoch = self._slots._epoch  # noqa: SLF001
