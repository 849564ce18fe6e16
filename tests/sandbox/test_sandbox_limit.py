"""The ten: counted at the server, whatever the client believes."""

import asyncio

import pytest
from sandbox.sandbox_client import LIST, quick, serving

from runner.sandbox.traffic import Endpoint, Traffic


async def test_the_eleventh_request_is_refused_at_once_while_ten_are_at_work() -> None:
    gate = asyncio.Event()
    async with serving(gate=gate) as api, asyncio.TaskGroup() as group:
        ten = [group.create_task(api.send(f"job {number}")) for number in range(10)]
        await api.sandbox.until(lambda stats: stats.running == 10)
        eleventh = await api.send("one too many")
        assert eleventh.status == 429
        assert "concurrent requests" in eleventh.message
        assert "Retry-After" not in eleventh.headers
        gate.set()
        assert [(await task).status for task in ten] == [201] * 10
        assert "one too many" not in api.names()
        stats = api.sandbox.stats()
        assert (stats.max_concurrent, stats.refused, stats.running) == (11, 1, 0)


async def test_requests_of_every_kind_count() -> None:
    gate = asyncio.Event()
    async with serving(quick(max_concurrent=3), gate=gate) as api, asyncio.TaskGroup() as group:
        group.create_task(api.send("job"))
        group.create_task(api.ask("GET", LIST))
        group.create_task(api.log_in())
        await api.sandbox.until(lambda stats: stats.running == 3)
        refused = [await api.send("other"), await api.ask("GET", LIST), await api.log_in(), await api.ask("GET", "/")]
        assert [reply.status for reply in refused] == [429] * 4
        assert (await api.ask("GET", "/sandbox/stats")).status == 200
        gate.set()
    assert api.sandbox.stats().refused == 4


async def test_requests_the_client_gave_up_on_run_on_and_count_and_are_accepted() -> None:
    gate = asyncio.Event()
    async with serving(gate=gate) as api:
        writers = [(await api.open(f"job {number}"))[1] for number in range(10)]
        await api.sandbox.until(lambda stats: stats.running == 10)
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        assert (await api.send("one too many")).status == 429
        gate.set()
        await api.quiet()
        stats = api.sandbox.stats()
        assert (stats.accepted, stats.given_up, stats.refused) == (10, 10, 1)
        assert (await api.send("one too many")).status == 201


async def test_a_slot_is_free_before_the_client_can_know_the_answer() -> None:
    async with serving(quick(max_concurrent=1)) as api:
        for number in range(50):
            assert (await api.send(f"job {number}")).status == 201
        assert api.sandbox.stats().max_concurrent == 1


async def test_other_programs_of_the_org_take_their_part() -> None:
    gate = asyncio.Event()
    async with serving(quick(taken=8), gate=gate) as api, asyncio.TaskGroup() as group:
        group.create_task(api.send("one"))
        group.create_task(api.send("two"))
        await api.sandbox.until(lambda stats: stats.running == 2)
        assert (await api.send("three")).status == 429
        gate.set()


async def test_the_refusal_looks_as_it_was_told_to() -> None:
    gate = asyncio.Event()
    options = quick(max_concurrent=1, throttle_status=403, retry_after_s=7)
    async with serving(options, gate=gate) as api, asyncio.TaskGroup() as group:
        group.create_task(api.send("one"))
        await api.sandbox.until(lambda stats: stats.running == 1)
        reply = await api.send("two")
        assert (reply.status, reply.headers["Retry-After"]) == (403, "7")
        gate.set()


async def test_a_request_that_never_became_complete_is_not_processed_and_leaves() -> None:
    async with serving() as api:
        host, port = api.sandbox.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /rest/channels/sms/publishedmessages/x/sendjobs HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
        )
        await api.sandbox.until(lambda stats: stats.running == 1)
        writer.close()
        await api.quiet()
        assert api.names() == []


async def test_stop_drops_what_is_at_work_and_a_start_remembers_what_was_accepted() -> None:
    gate = asyncio.Event()
    async with serving(gate=gate) as api:
        reader, writer = await api.open("dropped")
        _, gone = await api.open("dropped without a client")
        await api.sandbox.until(lambda stats: stats.running == 2)
        gone.close()
        await api.sandbox.stop()
        await api.sandbox.stop()
        assert await reader.read() == b""
        writer.close()
        assert api.sandbox.stats().running == 0
        with pytest.raises(RuntimeError, match="not started"):
            _ = api.sandbox.url
        await api.sandbox.start()
        assert api.names() == []


async def test_latency_is_work_done_inside_the_slot() -> None:
    loop = asyncio.get_running_loop()
    async with serving(quick(latency_s=0.05)) as api:
        begun = loop.time()
        await api.send()
        assert loop.time() - begun >= 0.05


def test_jitter_stays_in_its_bounds_and_replays_by_its_seed() -> None:
    runs = [
        [quick(latency_s=0.4, jitter_s=0.3, seed=seed).work_s(Endpoint.SEND, number) for number in range(1, 51)]
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]
    assert all(0.1 <= seconds <= 0.7 for run in runs for seconds in run)
    assert max(runs[0]) - min(runs[0]) > 0.4
    assert quick(latency_s=0.4).work_s(Endpoint.SEND, 1) == 0.4


def test_a_ticket_is_given_back_once() -> None:
    traffic = Traffic(limit=10, taken=0)
    ticket, _ = traffic.enter(Endpoint.SEND)
    ticket.leave()
    ticket.leave()
    assert traffic.stats(accepted=0, accepted_twice=0).running == 0
