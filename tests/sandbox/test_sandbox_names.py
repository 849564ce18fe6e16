"""When a name is taken: the two readings of what the documentation leaves open."""

import asyncio

from sandbox.sandbox_client import quick, serving


async def test_checked_on_arrival_a_retry_is_refused_while_the_first_is_still_at_work() -> None:
    gate = asyncio.Event()
    async with serving(quick(name_check="arrival"), gate=gate) as api, asyncio.TaskGroup() as group:
        first = group.create_task(api.send("Sale"))
        await api.sandbox.until(lambda stats: stats.running == 1)
        retry = group.create_task(api.send("Sale"))
        await api.sandbox.until(lambda stats: stats.running == 2)
        gate.set()
        assert [(await first).status, (await retry).status] == [201, 400]
        assert api.names() == ["Sale"]


async def test_taken_at_the_end_a_retry_that_comes_too_early_is_accepted_twice_and_shows_twice() -> None:
    gate = asyncio.Event()
    async with serving(quick(name_check="end"), gate=gate) as api:
        _, writer = await api.open("Sale")
        await api.sandbox.until(lambda stats: stats.running == 1)
        writer.close()
        retry = asyncio.ensure_future(api.send("Sale"))
        await api.sandbox.until(lambda stats: stats.running == 2)
        gate.set()
        assert (await retry).status == 201
        await api.quiet()
        accepted = api.sandbox.accepted()
        assert [(send.message_name, send.count) for send in accepted] == [("Sale", 2), ("Sale", 2)]
        assert accepted[0].id != accepted[1].id
        assert api.sandbox.stats().accepted_twice == 1


async def test_taken_at_the_end_a_retry_that_waits_is_refused() -> None:
    async with serving(quick(name_check="end")) as api:
        assert [(await api.send("Sale")).status, (await api.send("Sale")).status] == [201, 400]
        assert api.names() == ["Sale"]
        assert api.sandbox.stats().accepted_twice == 0
