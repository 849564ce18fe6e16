"""The ten of an org shared by its runs on one machine: never the same slot twice, fair shares, and dead holders."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import run_virtually

from runner.campaign.slotlocks import BEAT_S, TURN_S, OrgSlotLocks, fair_share
from runner.campaign.slots import Slots
from runner.errors import ConfigurationError

EPOCH_S = 1_800_000_000.0
SETTLE_S = 30.0

HOLDER = """
import sys
from pathlib import Path
from runner.campaign.slotlocks import OrgSlotLocks
from runner.campaign.slots import Slots

locks = OrgSlotLocks(Path(sys.argv[1]), Slots(10), settle_s=float(sys.argv[2]))
locks.start()
print("holding", flush=True)
sys.stdin.read()
"""


def wall() -> float:
    """Epoch seconds in virtual time."""
    return EPOCH_S + anyio.current_time()


@dataclass
class Run:
    """One run of the org."""

    slots: Slots
    locks: OrgSlotLocks
    keeper: asyncio.Task[None]

    @property
    def owned(self) -> set[int]:
        """Numbers of the slots whose locks it holds."""
        return set(self.slots._owned)

    async def dies(self) -> None:
        """Killed: the system takes its locks, and nothing is said."""
        await _ended(self.keeper)
        for lock in [*self.locks._held.values(), self.locks._own]:
            assert lock is not None
            lock.release()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def began(folder: Path, *, limit: int = 10, settle_s: float = SETTLE_S) -> Run:
    slots = Slots(limit)
    locks = OrgSlotLocks(folder, slots, settle_s=settle_s, wall=wall)
    locks.start()
    return Run(slots, locks, asyncio.create_task(locks.keep()))


@contextlib.asynccontextmanager
async def run_of(folder: Path, *, limit: int = 10, settle_s: float = SETTLE_S) -> AsyncIterator[Run]:
    run = began(folder, limit=limit, settle_s=settle_s)
    try:
        yield run
    finally:
        await _ended(run.keeper)
        run.locks.close()


async def usable_at(slots: Slots) -> float:
    """The moment a slot can first be had."""
    async with slots.hold():
        return anyio.current_time()


@given(slots=st.integers(1, 10), runs=st.integers(1, 40), turn=st.integers(0, 10_000))
def test_the_shares_of_all_add_up_to_the_slots(*, slots: int, runs: int, turn: int) -> None:
    """And differ by one at most."""
    shares = [fair_share(slots=slots, runs=runs, rank=rank, turn=turn) for rank in range(runs)]
    assert sum(shares) == slots
    assert max(shares) - min(shares) <= 1


@given(slots=st.integers(1, 10), more=st.integers(1, 30))
def test_where_there_are_more_runs_than_slots_each_has_its_turn(*, slots: int, more: int) -> None:
    runs = slots + more
    for rank in range(runs):
        assert sum(fair_share(slots=slots, runs=runs, rank=rank, turn=turn) for turn in range(runs)) == slots


def test_alone_a_run_has_all_slots_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with run_of(tmp_path / "new" / "folder") as run:
            assert run.owned == set(range(10))
            assert run.slots.available
            assert run.locks.runs == 1

    run_virtually(main)
    assert stat.S_IMODE((tmp_path / "new" / "folder").stat().st_mode) == 0o700


def test_two_runs_share_and_never_own_the_same_slot(tmp_path: Path) -> None:
    """The second has nothing at first; a beat later each has five; and when one leaves, the other has ten."""

    async def main() -> None:
        async with run_of(tmp_path) as first:
            async with run_of(tmp_path) as second:
                assert second.owned == set()
                for _ in range(20):
                    await anyio.sleep(BEAT_S / 4)
                    assert not first.owned & second.owned
                assert (len(first.owned), len(second.owned)) == (5, 5)
                assert second.slots.available, "slots that lay idle are usable at once"
            await anyio.sleep(2 * BEAT_S)
            assert first.owned == set(range(10))

    run_virtually(main)


def test_a_slot_at_work_is_handed_over_when_its_request_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        async with run_of(tmp_path) as first:
            held = [first.slots.hold() for _ in range(10)]
            for each in held:
                await each.take()
            async with run_of(tmp_path) as second:
                await anyio.sleep(5.0)
                assert second.owned == set()
                for each in held:
                    each.give_back()
                await anyio.sleep(2 * BEAT_S)
                assert (len(first.owned), len(second.owned)) == (5, 5)

    run_virtually(main)


def test_more_runs_than_slots_all_get_on(tmp_path: Path) -> None:
    """Three runs, two slots: each sends within its turns, and there are never more than two requests."""

    async def main() -> None:
        done = [0, 0, 0]
        under_way = 0

        async def send(number: int, slots: Slots) -> None:
            nonlocal under_way
            while True:
                async with slots.hold():
                    under_way += 1
                    assert under_way <= 2
                    await anyio.sleep(0.2)
                    under_way -= 1
                    done[number] += 1
                await anyio.lowlevel.checkpoint()

        async with contextlib.AsyncExitStack() as stack:
            runs = [await stack.enter_async_context(run_of(tmp_path, limit=2)) for _ in range(3)]
            with anyio.move_on_after(24 * TURN_S):
                async with anyio.create_task_group() as group:
                    for number, run in enumerate(runs):
                        group.start_soon(send, number, run.slots)
                        group.start_soon(send, number, run.slots)
        assert min(done) > 0.6 * sum(done) / 3
        assert sum(done) > 0.75 * 2 * 24 * TURN_S / 0.2

    run_virtually(main)


def test_the_slots_of_a_dead_run_are_taken_until_settle_after_its_last_sign(tmp_path: Path) -> None:
    async def main() -> None:
        dying = began(tmp_path)
        await anyio.sleep(100.2)
        await dying.dies()
        died_at = anyio.current_time()
        async with run_of(tmp_path) as heir:
            assert len(heir.owned) == heir.slots.in_use == 10
            assert not heir.slots.available
            usable = await usable_at(heir.slots)
        assert died_at + SETTLE_S <= usable <= died_at + SETTLE_S + BEAT_S

    run_virtually(main)


def test_an_heir_that_dies_too_leaves_no_slot_free_too_early(tmp_path: Path) -> None:
    """Three kills in a row, each run started at once: the first one's requests are still minded."""

    async def main() -> None:
        first = began(tmp_path, settle_s=60.0)
        await anyio.sleep(10.0)
        await first.dies()
        for _ in range(2):
            heir = began(tmp_path, settle_s=1.0)
            await anyio.sleep(1.0)
            await heir.dies()
        async with run_of(tmp_path, settle_s=1.0) as last:
            assert await usable_at(last.slots) >= 70.0

    run_virtually(main)


def test_a_killed_process_leaves_its_slots_taken(tmp_path: Path) -> None:
    """A real one, and a real kill: the system frees the locks, the file beside them says the rest."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter, our own text
        [sys.executable, "-c", HOLDER, str(tmp_path), "45"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"holding\n"

        def last_sign() -> float:
            return max(path.stat().st_mtime for path in tmp_path.glob("slot-*.json"))

        async def beside(*, alive: bool) -> list[float]:
            """What a run sees that starts now, by a clock that has just read the files' times."""
            now = last_sign() + 1.0
            slots = Slots(10)
            locks = OrgSlotLocks(tmp_path, slots, settle_s=30.0, wall=lambda: now + anyio.current_time())
            locks.start()
            if alive:
                assert locks.runs == 2
                assert not slots._owned
            left = sorted(slots.lingering.values())
            locks.close()
            return left

        assert run_virtually(lambda: beside(alive=True)) == []
        holder.kill()
        holder.wait()
        left = run_virtually(lambda: beside(alive=False))
    assert len(left) == 10
    assert left[0] >= 45.0 + BEAT_S - 1.5, "by the dead run's own settle time"
    assert left[-1] <= 45.0 + BEAT_S


def test_a_goodbye_frees_idle_slots_at_once_and_says_which_linger(tmp_path: Path) -> None:
    async def main() -> None:
        async with run_of(tmp_path) as first:
            async with first.slots.hold() as held:
                held.linger(20.0)
            await anyio.sleep(5.0)
        async with run_of(tmp_path) as second:
            assert len(second.owned) == 10
            assert second.slots.in_use == 1
            assert list(second.slots.lingering.values()) == [pytest.approx(20.0)]
            assert second.slots.available

    run_virtually(main)


def test_a_slot_at_work_when_its_run_says_goodbye_is_taken_until_settle(tmp_path: Path) -> None:
    """Its request cannot be over: whoever closes in such a moment is leaving in a hurry."""

    async def main() -> None:
        run = began(tmp_path)
        held = run.slots.hold()
        await held.take()
        await anyio.sleep(5.0)
        await _ended(run.keeper)
        run.locks.close()
        async with run_of(tmp_path) as heir:
            assert list(heir.slots.lingering.values()) == [pytest.approx(5.0 + SETTLE_S, abs=2 * BEAT_S)]

    run_virtually(main)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"held": true}', '{"held": 1, "until": "x", "settle_s": 1}'])
def test_a_state_that_cannot_be_read_counts_as_a_holder_that_died_just_now(tmp_path: Path, text: str) -> None:
    async def main() -> None:
        (tmp_path / "slot-0.json").write_text(text)
        async with run_of(tmp_path, limit=1) as run:
            assert await usable_at(run.slots) == pytest.approx(SETTLE_S, abs=2 * BEAT_S)

    run_virtually(main)


@pytest.mark.parametrize("back_s", [3600.0, 86_400.0 * 365])
def test_a_clock_that_was_set_back_does_not_take_the_slots_for_long(tmp_path: Path, back_s: float) -> None:
    """What was left behind "in the future" counts as left behind now."""

    async def main() -> None:
        state = tmp_path / "slot-0.json"
        later = EPOCH_S + back_s
        state.write_text(json.dumps({"held": True, "until": later + 10, "settle_s": SETTLE_S}))
        os.utime(state, (later, later))
        async with run_of(tmp_path, limit=1) as run:
            usable = await usable_at(run.slots)
        assert SETTLE_S <= usable <= SETTLE_S + 2 * BEAT_S

    run_virtually(main)


def test_a_run_keeps_counting_though_its_file_was_taken_away(tmp_path: Path) -> None:
    async def main() -> None:
        async with run_of(tmp_path) as first, run_of(tmp_path) as second:
            (tmp_path / first.locks._name).unlink()
            await anyio.sleep(3 * BEAT_S)
            assert (first.locks.runs, second.locks.runs) == (2, 2)
            assert (len(first.owned), len(second.owned)) == (5, 5)

    run_virtually(main)


def test_a_state_that_cannot_be_written_any_more_costs_no_run_its_life(tmp_path: Path) -> None:
    """A full disk, say: giving a slot to another run fails on paper only, and its lock is free all the same."""

    async def main() -> None:
        async with run_of(tmp_path, limit=2) as first:
            held = [first.slots.hold() for _ in range(2)]
            for each in held:
                await each.take()
            async with run_of(tmp_path, limit=2) as second:
                await anyio.sleep(2 * BEAT_S)
                for number in range(2):
                    (tmp_path / f"slot-{number}.json").unlink()
                    (tmp_path / f"slot-{number}.json").mkdir()
                held[0].give_back()
                held[1].give_back()
                await anyio.sleep(2 * BEAT_S)
                assert len(first.owned) == 1
                assert second.owned == set(), "it cannot be known how long the slot is taken, so it is not used"
                for number in range(2):
                    (tmp_path / f"slot-{number}.json").rmdir()
                await anyio.sleep(2 * BEAT_S)
                assert len(second.owned) == 1

    run_virtually(main)


def test_a_folder_that_cannot_be_used_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    locks = OrgSlotLocks(tmp_path / "file" / "folder", Slots(1), settle_s=1.0)
    with pytest.raises(ConfigurationError, match="folder for the org's slots"):
        locks.start()
