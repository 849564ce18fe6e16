"""The list the workers take from: order, due times, its end, and no wake-up that is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import StandstillError, run_virtually

from runner.batch.worklist import Worklist


def quiet() -> Worklist[int]:
    return Worklist(on_low=lambda: None)


async def drain(worklist: Worklist[int], seen: list[tuple[float, int]] | None = None) -> list[int]:
    """Take until there is no more."""
    taken = []
    while (item := await worklist.take()) is not None:
        taken.append(item)
        if seen is not None:
            seen.append((anyio.current_time(), item))
        worklist.done()
    return taken


def test_ready_jobs_come_in_their_order() -> None:
    async def main() -> None:
        worklist = quiet()
        worklist.add([1, 2])
        worklist.add([3])
        worklist.exhausted()
        assert await drain(worklist) == [1, 2, 3]

    run_virtually(main)


def test_a_job_whose_time_has_come_goes_before_the_ready_ones() -> None:
    """And not before its time, to the moment."""

    async def main() -> None:
        worklist = quiet()
        worklist.add([1, 2, 3])
        worklist.add_later(9, in_s=30.0)
        worklist.add_later(8, in_s=10.0)
        worklist.exhausted()
        seen: list[tuple[float, int]] = []
        assert await worklist.take() == 1
        worklist.done()
        await anyio.sleep(10.0)
        await drain(worklist, seen)
        assert seen == [(10.0, 8), (10.0, 2), (10.0, 3), (30.0, 9)]

    run_virtually(main)


def test_jobs_due_at_the_same_time_keep_their_order() -> None:
    async def main() -> None:
        worklist = quiet()
        for item in range(20):
            worklist.add_later(item, in_s=5.0)
        worklist.exhausted()
        assert await drain(worklist) == list(range(20))

    run_virtually(main)


def test_a_pause_holds_back_the_ready_jobs_only() -> None:
    async def main() -> None:
        worklist = quiet()
        worklist.add([1, 2])
        worklist.add_later(7, in_s=3.0)
        worklist.pause(in_s=10.0)
        worklist.pause(in_s=4.0)  # a shorter one does not cut the longer short
        worklist.exhausted()
        seen: list[tuple[float, int]] = []
        await drain(worklist, seen)
        assert seen == [(3.0, 7), (10.0, 1), (10.0, 2)]

    run_virtually(main)


def test_jobs_added_during_a_pause_wait_for_its_end() -> None:
    """Nobody has to come by for them."""

    async def main() -> None:
        worklist = quiet()
        worklist.pause(in_s=10.0)
        seen: list[tuple[float, int]] = []
        async with anyio.create_task_group() as group:
            group.start_soon(drain, worklist, seen)
            await anyio.sleep(1.0)
            worklist.add([1])
            worklist.exhausted()
        assert seen == [(10.0, 1)]

    run_virtually(main)


def test_at_the_end_every_worker_is_let_go() -> None:
    """Also those who wait while another is still at work."""

    async def main() -> None:
        worklist = quiet()
        worklist.add([1])
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(drain, worklist)
            await anyio.sleep(1.0)
            worklist.exhausted()

    run_virtually(main)


def test_nobody_is_let_go_while_a_job_may_come_back() -> None:
    """The worker that waits takes what the one at work puts back."""

    async def main() -> None:
        worklist = quiet()
        worklist.add([1])
        worklist.exhausted()
        assert await worklist.take() == 1
        seen: list[tuple[float, int]] = []
        async with anyio.create_task_group() as group:
            group.start_soon(drain, worklist, seen)
            await anyio.sleep(5.0)
            worklist.add_later(1, in_s=2.0)
            worklist.done()
        assert seen == [(7.0, 1)]

    run_virtually(main)


def test_without_the_word_that_it_is_exhausted_workers_wait() -> None:
    async def main() -> None:
        worklist = quiet()
        worklist.add([1])
        await drain(worklist)

    with pytest.raises(StandstillError):
        run_virtually(main)


def test_closing_hands_back_what_nobody_will_take() -> None:
    async def main() -> None:
        worklist = quiet()
        worklist.add([1, 2, 3])
        worklist.add_later(4, in_s=5.0)
        assert await worklist.take() == 1
        async with anyio.create_task_group() as group:
            assert worklist.close() == [2, 3, 4]
            group.start_soon(drain, worklist)
        assert await worklist.take() is None
        assert worklist.close() == []

    run_virtually(main)


def test_it_says_when_it_runs_low_and_counts_who_waits_in_vain() -> None:
    async def main() -> None:
        calls: list[None] = []
        worklist: Worklist[int] = Worklist(on_low=lambda: calls.append(None))
        worklist.add([1])
        await worklist.take()
        assert len(calls) == 1
        with anyio.move_on_after(1.0):
            await worklist.take()
        assert worklist.starved == 1
        assert len(calls) == 2

    run_virtually(main)


def test_a_worker_cancelled_in_the_moment_it_is_woken_passes_the_turn_on() -> None:
    async def main() -> None:
        worklist = quiet()
        first, second = asyncio.create_task(worklist.take()), asyncio.create_task(worklist.take())
        await anyio.sleep(1.0)
        worklist.add([1])  # wakes the first …
        first.cancel()  # … which goes away before it can take
        assert await asyncio.wait_for(second, 1.0) == 1
        with pytest.raises(asyncio.CancelledError):
            await first

    run_virtually(main)


@settings(max_examples=60, deadline=None)
@given(
    jobs=st.lists(st.tuples(st.sampled_from([0.0, 0.0, 0.5, 2.0]), st.integers(0, 3)), max_size=25),
    cancels=st.lists(st.tuples(st.integers(0, 4), st.floats(0.0, 5.0)), max_size=6),
    pauses=st.lists(st.floats(0.0, 4.0), max_size=3),
)
def test_every_job_is_worked_on_however_workers_come_and_go(
    *, jobs: list[tuple[float, int]], cancels: list[tuple[int, float]], pauses: list[float]
) -> None:
    """Jobs that are put back some times, pauses, and workers that are cancelled and replaced: all is done, once."""

    async def main() -> None:
        worklist = quiet()
        left = dict(enumerate(again for _, again in jobs))
        finished: list[int] = []

        async def work() -> None:
            while (item := await worklist.take()) is not None:
                try:
                    if left[item]:
                        left[item] -= 1
                        worklist.add_later(item, in_s=0.7)
                    else:
                        finished.append(item)
                finally:
                    worklist.done()

        async def replaced(number: int, worker: Callable[[], Awaitable[None]]) -> None:
            for _, in_s in (cancel for cancel in cancels if cancel[0] == number):
                with anyio.move_on_after(in_s):
                    await worker()
                    return
            await worker()

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(replaced, number, work)
            for in_s in pauses:
                worklist.pause(in_s=in_s)
            for item, (in_s, _) in enumerate(jobs):
                await anyio.sleep(in_s)
                worklist.add([item])
            worklist.exhausted()
        assert sorted(finished) == list(range(len(jobs)))

    run_virtually(main)
