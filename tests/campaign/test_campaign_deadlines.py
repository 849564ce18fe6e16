"""One timer ends every request in its time, and only that: whose a cancellation is stays clear."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import run_virtually

from runner.campaign.deadlines import Deadlines


async def ask(deadlines: Deadlines, seconds: float) -> str:
    """A request that takes so long, as `exchange` makes it; how it ended and when."""
    loop = asyncio.get_running_loop()
    deadline = deadlines.start()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not deadline.has_passed():
            raise
        return f"timed out at {loop.time():g}"
    finally:
        deadlines.end(deadline)
    return f"answered at {loop.time():g}"


def test_each_request_ends_in_its_own_time_however_they_overlap() -> None:
    async def main() -> list[str]:
        deadlines = Deadlines(10.0)

        async def begin(at: float, seconds: float) -> str:
            await asyncio.sleep(at)
            return await ask(deadlines, seconds)

        both = ((0, 9), (1, 99), (2, 3), (4, 99), (30, 99), (31, 2))
        return await asyncio.gather(*(begin(at, seconds) for at, seconds in both))

    assert run_virtually(main) == [
        "answered at 9",
        "timed out at 11",
        "answered at 5",
        "timed out at 14",
        "timed out at 40",
        "answered at 33",
    ]


def test_a_cancellation_from_elsewhere_is_not_taken_for_a_time_out() -> None:
    async def main() -> bool:
        task = asyncio.create_task(ask(Deadlines(10.0), 99))
        await asyncio.sleep(3)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run_virtually(main)


def test_a_cancellation_that_comes_together_with_the_time_out_is_not_swallowed() -> None:
    async def main() -> bool:
        task = asyncio.create_task(ask(Deadlines(10.0), 99))
        await asyncio.sleep(3)
        asyncio.get_running_loop().call_at(10.0, task.cancel)
        await asyncio.wait([task])
        return task.cancelled()

    assert run_virtually(main)


def test_a_task_goes_on_as_if_never_cancelled_after_a_time_out() -> None:
    async def main() -> tuple[str, str, int]:
        deadlines = Deadlines(10.0)
        first, second = await ask(deadlines, 99), await ask(deadlines, 5)
        task = asyncio.current_task()
        assert task is not None
        return first, second, task.cancelling()

    assert run_virtually(main) == ("timed out at 10", "answered at 15", 0)


async def lose_connection(deadlines: Deadlines) -> None:
    deadline = deadlines.start()
    try:
        await asyncio.sleep(99)
    except asyncio.CancelledError:
        raise ConnectionError from None
    finally:
        deadlines.end(deadline)


def test_a_time_out_that_ends_in_another_error_leaves_no_cancellation_behind() -> None:
    async def main() -> int:
        with pytest.raises(ConnectionError):
            await lose_connection(Deadlines(10.0))
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert run_virtually(main) == 0


def test_nothing_fires_after_the_last_request_has_ended() -> None:
    async def main() -> float:
        deadlines = Deadlines(10.0)
        await ask(deadlines, 1)
        deadlines.close()
        await asyncio.sleep(50)
        return asyncio.get_running_loop().time()

    assert run_virtually(main) == 51
