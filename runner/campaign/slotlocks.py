"""The ten, shared by all runs of one org on this machine: a lock file for each slot.

A slot may be used only by the process that holds its lock, and the operating system takes the lock from a process
that dies, so nobody has to guess from a pid. But a request of a dead process may still be running at the server.
Therefore a file beside each lock says what its last holder left behind: its content, until when the slot is taken
anyway; its modification time, the holder's last sign of life, renewed every `BEAT_S`. Whoever gets the lock of a
holder that did not say goodbye uses the slot only when settle has passed since that sign.

Fairness: each run also holds a lock file of its own, so the living can be counted. A run with more slots than its
equal share lets go of each one that comes free until it is down to it; where there are more runs than slots, the
shares go round. Counting is done at every beat, so a newcomer has its share after a beat and one request.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import structlog
from filelock import FileLock, Timeout

from runner.campaign.slots import Slots
from runner.errors import ConfigurationError

BEAT_S: Final = 0.5
"""Seconds between two signs of life, and between two counts of the runs."""
TURN_S: Final = 5.0
"""Seconds a slot's turn lasts where there are more runs than slots."""
LONGEST_S: Final = 3600.0 + BEAT_S
"""Longest time a slot is taken by what somebody left behind: the settings' longest settle time, and a beat."""

log = structlog.get_logger()


def fair_share(*, slots: int, runs: int, rank: int, turn: int) -> int:
    """How many of `slots` the run of `rank` (from 0) among `runs` has now; the shares of all add up to `slots`.

    Where there are more runs than slots, the ones with a slot change with each `turn`.
    """
    whole, rest = divmod(slots, runs)
    place = rank if whole else (rank + turn) % runs
    return whole + (place < rest)


class OrgSlotLocks:
    """Makes slots of `slots` usable as their locks are got, and lets others have their share.

    Args:
        directory: where all runs of the org on this machine keep their locks; made if it is not there (mode 0700).
        slots: what is to be shared; its limit is how many lock files are used, so a lower limit of the org's
            configuration is a limit of all runs together.
        settle_s: seconds after which a request that was given up on is over at the server.
        wall: epoch seconds; the signs of life are compared across processes.
    """

    def __init__(
        self, directory: Path, slots: Slots, *, settle_s: float, wall: Callable[[], float] = time.time
    ) -> None:
        self._directory = directory
        self._slots = slots
        self._settle_s = settle_s
        self._wall = wall
        self._held: dict[int, FileLock] = {}
        self._share = slots.limit
        self._name = f"run-{uuid.uuid4().hex}.lock"
        self._own: FileLock | None = None
        self.runs = 1
        """Runs of the org on this machine at the last count, this one included."""

    def start(self) -> None:
        """Join the runs and take what is free of this run's share.

        Raises:
            ConfigurationError: the directory cannot be made or written.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._join()
            self._count()
            self._acquire()
        except OSError as error:
            raise ConfigurationError(
                f"The folder for the org's slots, {self._directory}, cannot be used: {error.strerror}.",
                cause="All runs of an org on this machine share its ten requests by lock files in that folder.",
                remedy="Make the folder writable for this user, or name another by XDG_STATE_HOME.",
            ) from None
        self._slots.share_by(self)

    async def keep(self) -> None:
        """Give signs of life, count the runs and share, until cancelled."""
        while True:
            await anyio.sleep(BEAT_S)
            try:
                self._beat()
            except OSError as error:
                # The locks stay held, so the limit holds; only the others' view of this run gets older.
                log.warning("slot_beat_failed", reason=error.strerror)
            await self._slots.reclaim()

    def close(self) -> None:
        """Say goodbye: leave behind until when each slot is taken, and free the locks."""
        now = self._wall()
        clock = anyio.current_time()
        idle = self._slots.idle
        for number in list(self._held):
            if number in self._slots.lingering:
                until = now + max(0.0, self._slots.lingering[number] - clock)
            else:
                until = 0.0 if number in idle else now + self._settle_s  # at work: we are leaving in the middle of it
            self._let_go(number, until=until)
        if self._own is not None:
            (self._directory / self._name).unlink(missing_ok=True)
            self._own.release()
            self._own = None

    def surplus(self) -> bool:
        """Whether this run holds more slots than its share."""
        return len(self._held) > self._share

    def give_up(self, number: int) -> None:
        """Let another run have the slot; it is not in use."""
        self._let_go(number, until=0.0)

    def _beat(self) -> None:
        for number in self._held:
            self._sign(number)
        if not (self._directory / self._name).exists():
            self._join()  # a run that counted in the instant between making and locking took the file for a dead one's
        self._count()
        self._acquire()

    def _join(self) -> None:
        if self._own is not None:
            self._own.release()
        self._own = FileLock(self._directory / self._name)
        self._own.acquire()

    def _count(self) -> None:
        alive = [self._name, *(path.name for path in self._directory.glob("run-*.lock") if self._is_alive(path))]
        self.runs = len(alive)
        self._share = fair_share(
            slots=self._slots.limit,
            runs=self.runs,
            rank=sorted(alive).index(self._name),
            turn=int(self._wall() / TURN_S),
        )

    def _is_alive(self, path: Path) -> bool:
        if path.name == self._name:
            return False  # counted already
        probe = FileLock(path)
        try:
            probe.acquire(timeout=0)
        except Timeout:
            return True
        path.unlink(missing_ok=True)
        probe.release()
        return False

    def _acquire(self) -> None:
        for number in range(self._slots.limit):
            if len(self._held) >= self._share:
                return
            if number in self._held:
                continue
            lock = FileLock(self._directory / f"slot-{number}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                taken_until = self._taken_until(number)
                self._write(number, held=True, until=taken_until)
            except OSError:
                lock.release()
                raise
            self._held[number] = lock
            self._slots.add(number, in_s=taken_until - self._wall())

    def _taken_until(self, number: int) -> float:
        """Until when (epoch seconds) what the last holder left behind keeps the slot taken."""
        path = self._state(number)
        now = self._wall()
        try:
            sign = path.stat().st_mtime
            left = json.loads(path.read_bytes())
            until, held, settle_s = float(left["until"]), bool(left["held"]), float(left["settle_s"])
        except FileNotFoundError:
            return 0.0
        except (ValueError, TypeError, KeyError):
            return now + BEAT_S + self._settle_s  # cut off in the middle of a write: its holder died just then
        # A clock that was set back since must not take the slot for years: what was to last so long from the sign on
        # lasts so long from now on. The bound is for a clock that was wrong in between only.
        set_back_s = max(0.0, sign - now)
        until = min(until - set_back_s, now + LONGEST_S)
        return max(until, sign - set_back_s + BEAT_S + settle_s) if held else until

    def _let_go(self, number: int, *, until: float) -> None:
        lock = self._held.pop(number)
        try:
            self._write(number, held=False, until=until)
        except OSError as error:
            # Then the next holder takes us for dead and waits for settle, which is the safe side.
            log.warning("slot_goodbye_failed", slot=number, reason=error.strerror)
        lock.release()

    def _write(self, number: int, *, held: bool, until: float) -> None:
        left = {"held": held, "until": until, "settle_s": self._settle_s}
        self._state(number).write_text(json.dumps(left), encoding="ascii")
        self._sign(number)

    def _sign(self, number: int) -> None:
        # By the clock that reads it: a file system across the network stamps with one of its own.
        now = self._wall()
        os.utime(self._state(number), (now, now))

    def _state(self, number: int) -> Path:
        return self._directory / f"slot-{number}.json"
