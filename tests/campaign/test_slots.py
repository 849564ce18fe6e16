"""Slots in virtual time: the limit, what lingers, the governor, and nothing that leaks."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from random import Random

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import run_virtually

from runner.campaign.slots import GIVE_BACK_AFTER_S, GIVE_BACK_LONGEST_S, Slots


class Crowd:
    """Workers without end, and the count of what they have under way."""

    def __init__(self, slots: Slots, *, request_s: float = 0.05) -> None:
        self.slots = slots
        self.under_way = 0
        self.most = 0
        self.done = 0
        self.refusals = 0
        self.room = 1_000
        """Requests the server takes from us at once; one more is refused."""
        self._request_s = request_s

    async def work(self) -> None:
        """One request after the other, until cancelled."""
        while True:
            async with self.slots.hold() as held:
                self.under_way += 1
                self.most = max(self.most, self.under_way)
                try:
                    if self.under_way > self.room:
                        await anyio.sleep(0.001)
                        self.refusals += 1
                        held.refused()
                    else:
                        await anyio.sleep(self._request_s)
                        self.done += 1
                finally:
                    self.under_way -= 1
            await anyio.sleep(0.0)


async def in_use_after(slots: Slots, workers: int) -> Crowd:
    crowd = Crowd(slots)
    with anyio.move_on_after(10.0):
        async with anyio.create_task_group() as group:
            for _ in range(workers):
                group.start_soon(crowd.work)
    return crowd


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_never_more_than_the_limit_and_never_less_without_need(limit: int) -> None:
    async def main() -> Crowd:
        return await in_use_after(Slots.in_process(limit), workers=25)

    crowd = run_virtually(main)
    assert crowd.most == crowd.slots.most_in_use == limit
    assert crowd.done == pytest.approx(limit * 200, rel=0.02), "each slot is at work all the time"
    assert crowd.slots.in_use == 0


def test_a_request_that_was_given_up_on_keeps_its_slot_for_its_time() -> None:
    async def main() -> None:
        slots = Slots.in_process(1)
        async with slots.hold() as held:
            held.linger(5.0)
            held.linger(30.0)
            held.linger(10.0)  # the longest counts
        assert slots.in_use == 1
        assert slots.lingering == {0: 30.0}
        async with slots.hold():
            assert anyio.current_time() == 30.0
        assert (slots.in_use, slots.lingering) == (0, {})

    run_virtually(main)


def test_a_slot_lingers_also_when_its_block_is_left_by_an_exception() -> None:
    async def main() -> None:
        slots = Slots.in_process(1)
        with anyio.move_on_after(1.0):
            async with slots.hold() as held:
                held.linger(7.0)
                await anyio.sleep(100.0)
        async with slots.hold():
            assert anyio.current_time() == 8.0

    run_virtually(main)


def test_giving_back_an_unused_slot_is_no_lingering_and_can_be_done_twice() -> None:
    async def main() -> None:
        slots = Slots.in_process(1)
        held = slots.hold()
        held.give_back()
        await held.take()
        assert slots.in_use == 1
        held.give_back()
        held.give_back()
        assert slots.available
        assert slots.in_use == 0
        async with slots.hold():
            assert slots.in_use == 1

    run_virtually(main)


def test_a_slot_that_was_taken_before_the_block_is_not_taken_again_in_it() -> None:
    async def main() -> None:
        slots = Slots.in_process(1)
        held = slots.hold()
        await held.take()
        async with held:
            assert slots.in_use == 1
        assert slots.in_use == 0

    run_virtually(main)


def test_a_slot_somebody_left_at_work_is_usable_when_its_time_has_come() -> None:
    async def main() -> None:
        slots = Slots(2)
        slots.add(0)
        slots.add(1, in_s=12.0)
        async with slots.hold():
            assert slots.in_use == 2
            async with slots.hold():
                assert anyio.current_time() == 12.0

    run_virtually(main)


def test_waiting_that_is_cancelled_leaks_nothing() -> None:
    """In whatever moment, also in that of being given the slot."""

    async def main() -> None:
        rng = Random(3)  # noqa: S311 - a test's dice
        slots = Slots.in_process(3)

        async def impatient() -> None:
            for _ in range(200):
                with anyio.move_on_after(rng.choice((0.0, 0.01, 0.05, 0.1))):
                    async with slots.hold():
                        await anyio.sleep(rng.choice((0.0, 0.05, 0.1)))

        async with anyio.create_task_group() as group:
            for _ in range(12):
                group.start_soon(impatient)
        assert slots.in_use == 0
        assert slots.most_in_use == 3
        held = [slots.hold() for _ in range(3)]
        for each in held:
            assert slots.available
            await each.take()
        assert not slots.available

    run_virtually(main)


def test_cancelled_in_the_moment_of_being_given_a_slot_the_next_in_line_gets_it() -> None:
    async def main() -> None:
        slots = Slots.in_process(1)
        holder, first, second = slots.hold(), slots.hold(), slots.hold()
        await holder.take()
        waiting = asyncio.create_task(first.take())
        next_one = asyncio.create_task(second.take())
        await anyio.sleep(1.0)
        holder.give_back()
        waiting.cancel()
        await asyncio.wait_for(next_one, 1.0)
        assert slots.in_use == 1

    run_virtually(main)


def test_a_burst_of_refusals_takes_one_slot_only() -> None:
    """All ten were under way together: together they say no more than that it was one too many."""

    async def main() -> None:
        changes: list[tuple[int, int]] = []
        slots = Slots.in_process(10, on_change=lambda in_use, usable: changes.append((in_use, usable)))
        held = [slots.hold() for _ in range(10)]
        for each in held:
            await each.take()
        for each in held:
            each.refused()
        for each in held:
            each.give_back()
        assert slots.usable == 9
        assert changes == [(10, 9)]
        assert (await in_use_after(slots, workers=20)).most >= 9

    run_virtually(main)


def test_the_last_slot_is_never_taken_away() -> None:
    async def main() -> None:
        slots = Slots.in_process(3)
        for _ in range(10):
            async with slots.hold() as held:
                held.refused()
        assert slots.usable == 1
        async with slots.hold():
            pass

    run_virtually(main)


def test_time_gives_the_slots_back_one_by_one() -> None:
    async def main() -> list[tuple[float, int]]:
        changes: list[tuple[float, int]] = []
        slots = Slots.in_process(5, on_change=lambda _, usable: changes.append((anyio.current_time(), usable)))
        crowd = Crowd(slots)
        with anyio.move_on_after(300.0):
            async with anyio.create_task_group() as group:
                group.start_soon(crowd.work)
                for _ in range(3):
                    async with slots.hold() as held:
                        held.refused()
        assert crowd.slots.usable == 5
        return changes

    changes = run_virtually(main)
    assert [usable for _, usable in changes] == [4, 3, 2, 3, 4, 5]
    given_back = [time for time, _ in changes[2:]]
    assert all(later - time >= GIVE_BACK_AFTER_S for time, later in pairwise(given_back))


def test_where_others_use_four_of_the_ten_we_stay_close_to_six() -> None:
    """Few refusals, and few slots idle: over two hours."""

    async def main() -> tuple[Crowd, float]:
        slots = Slots.in_process(10)
        crowd = Crowd(slots, request_s=1.0)
        crowd.room = 6
        with anyio.move_on_after(7200.0):
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(crowd.work)
        return crowd, slots.usable

    crowd, usable = run_virtually(main)
    assert usable in (5, 6, 7)
    assert crowd.done > 0.93 * 6 * 7200
    assert crowd.refusals < 2 * 7200 / GIVE_BACK_LONGEST_S + 60


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 10),
    seed=st.integers(0, 10_000),
    workers=st.integers(1, 20),
)
def test_the_limit_holds_and_all_comes_back(*, limit: int, seed: int, workers: int) -> None:
    """Whatever lingers, is refused, or is cancelled: counted where it matters, at the server."""

    async def main() -> None:
        rng = Random(seed)  # noqa: S311 - a test's dice
        slots = Slots.in_process(limit)
        at_server = 0

        def over() -> None:
            nonlocal at_server
            at_server -= 1

        async def one() -> None:
            nonlocal at_server
            async with slots.hold() as held:
                at_server += 1
                assert at_server <= limit
                goes_on_s = rng.choice((0.0, 0.0, 0.3, 2.0))
                try:
                    await anyio.sleep(rng.uniform(0.0, 0.5))
                    if rng.random() < 0.2:
                        held.refused()
                finally:
                    held.linger(goes_on_s)
                    if goes_on_s:
                        asyncio.get_running_loop().call_later(goes_on_s, over)
                    else:
                        over()

        async def work() -> None:
            for _ in range(10):
                with anyio.move_on_after(rng.choice((0.1, 1.0, 100.0))):
                    await one()

        async with anyio.create_task_group() as group:
            for _ in range(workers):
                group.start_soon(work)
        await anyio.sleep(3.0)
        assert at_server == slots.in_use == 0
        assert slots.lingering == {}
        assert 1 <= slots.usable <= limit
        held = [slots.hold() for _ in range(slots.usable)]
        for each in held:
            await asyncio.wait_for(each.take(), 1.0)

    run_virtually(main)
