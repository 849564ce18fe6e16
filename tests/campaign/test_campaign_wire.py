"""The client against servers that break off, drip, lie or never answer: sockets on loopback, no mocks."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct

import pytest
from campaign.campaign_fakes import (
    MESSAGE_ID,
    TOKEN,
    FakeSlots,
    Handler,
    answering,
    client_for,
    created,
    error_body,
    http,
    job,
    raw_server,
    read_request,
)
from structlog.testing import capture_logs

from runner.campaign.answers import ANSWER_LIMIT
from runner.campaign.client import CampaignClient
from runner.campaign.network import KEEPALIVE_S
from runner.model import Accepted, NameTaken, NotConnected, Outcome, Refused, Scenario, Unknown

SHORT_S = 0.15
"""A time-out where the time-out is what is tested."""


async def outcome_of(handler: Handler, slots: FakeSlots | None = None, *, timeout_s: float = 5.0) -> Outcome:
    async with raw_server(handler) as url, client_for(url, slots or FakeSlots(), timeout_s=timeout_s) as client:
        return await client.send(job(), token=TOKEN)


def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection off with a RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_what_stands_on_the_wire_is_one_whole_documented_request() -> None:
    seen: list[tuple[str, dict[str, str], bytes]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(http(201, created(), "Set-Cookie: a=b"))
        seen.append(await read_request(reader))
        writer.write(http(201, created()))

    async with raw_server(handle) as url, client_for(url, FakeSlots()) as client:
        await client.send(job("Größe"), token=TOKEN)
        await client.send(job("2"), token=TOKEN)
    (line, headers, body), (_, again, _) = seen
    assert line == f"POST /rest/channels/sms/publishedmessages/{MESSAGE_ID}/sendjobs HTTP/1.1"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == "sms-runner/test"
    assert body == '{"messageName":"Größe"}'.encode()
    assert "cookie" not in again


async def test_a_connection_is_kept_for_the_next_request() -> None:
    handler = answering(*[http(201, created(n)) for n in range(3)])
    async with raw_server(handler) as url, client_for(url, FakeSlots()) as client:
        ids = [await client.send(job(str(n)), token=TOKEN) for n in range(3)]
    assert [outcome.send_id for outcome in ids if isinstance(outcome, Accepted)] == ["0", "1", "2"]


async def test_a_connection_refused_sent_nothing() -> None:
    with socket.socket() as bound:  # bound and not listening: a port that surely refuses
        bound.bind(("127.0.0.1", 0))
        slots = FakeSlots()
        async with client_for(f"http://127.0.0.1:{bound.getsockname()[1]}", slots) as client:
            outcome = await client.send(job(), token=TOKEN)
    assert isinstance(outcome, NotConnected)
    assert slots.lingered == []


async def test_a_tls_handshake_that_fails_sent_nothing() -> None:
    begun: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(await reader.read(5))
        writer.write(b"this is no TLS\r\n")

    async with raw_server(handle) as url, client_for(url.replace("http:", "https:"), FakeSlots()) as client:
        outcome = await client.send(job(), token=TOKEN)
    assert isinstance(outcome, NotConnected)
    assert begun == [b"\x16\x03\x01\x02\x00"] or begun[0].startswith(b"\x16\x03")


async def test_a_tls_handshake_that_never_ends_sent_nothing() -> None:
    async def handle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    slots = FakeSlots()
    async with raw_server(handle) as url:
        client = client_for(url.replace("http:", "https:"), slots, timeout_s=SHORT_S)
        async with client:
            outcome = await client.send(job(), token=TOKEN)
    assert isinstance(outcome, NotConnected)
    assert slots.lingered == []


@pytest.mark.parametrize("ending", [b"", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", b"garbage\r\n\r\n"])
async def test_a_proxy_that_refuses_or_hangs_up_sent_nothing_and_got_no_token(ending: bytes) -> None:
    seen: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(ending)

    async with raw_server(proxy) as url:
        slots = FakeSlots()
        async with CampaignClient(
            base_url="https://api.example.com",
            slots=slots,
            timeout_s=5.0,
            settle_s=30.0,
            user_agent="t",
            environ={"HTTPS_PROXY": url.replace("http://", "http://user:hunter2@")},
        ) as client:
            outcome = await client.send(job(), token=TOKEN)
    assert isinstance(outcome, NotConnected)
    assert slots.lingered == []
    assert seen[0].startswith("CONNECT api.example.com:443 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n" in seen[0]
    assert "S3CR3T" not in seen[0]
    assert "hunter2" not in outcome.message


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_lost_before_the_answer_leaves_the_job_in_doubt(how: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if how == "reset":
            reset(writer)

    slots = FakeSlots()
    outcome = await outcome_of(handle, slots)
    assert isinstance(outcome, Unknown)
    assert (outcome.scenario, outcome.http_status) == (Scenario.CONNECTION_LOST, None)
    assert slots.lingered == [30.0]


async def test_a_post_is_never_repeated_on_a_connection_that_turns_out_closed() -> None:
    requests: list[str] = []
    closed = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await read_request(reader))[0])
        writer.write(http(201, created()))
        requests.append((await read_request(reader))[0])
        closed.set()  # reads the second request and hangs up without an answer

    async with raw_server(handle) as url, client_for(url, FakeSlots()) as client:
        assert isinstance(await client.send(job("1"), token=TOKEN), Accepted)
        outcome = await client.send(job("2"), token=TOKEN)
        await closed.wait()
    assert isinstance(outcome, Unknown)
    assert outcome.scenario is Scenario.CONNECTION_LOST
    assert len(requests) == 2


def test_idle_connections_are_given_up_before_common_servers_do() -> None:
    assert KEEPALIVE_S < 5.0


async def test_a_lost_connection_keeps_the_slot_as_long_as_the_slowest_send_took() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(http(201, created()))
        await read_request(reader)

    slots = FakeSlots()
    async with raw_server(handle) as url, client_for(url, slots) as client:
        first = await client.send(job("1"), token=TOKEN)
        await client.send(job("2"), token=TOKEN)
    assert isinstance(first, Accepted)
    assert slots.lingered == [first.latency_ms / 1000]


async def test_a_quick_refusal_says_nothing_of_how_long_a_send_runs() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(http(400, error_body("Invalid message name")))
        await read_request(reader)

    slots = FakeSlots()
    async with raw_server(handle) as url, client_for(url, slots) as client:
        assert isinstance(await client.send(job("1"), token=TOKEN), Refused)
        assert isinstance(await client.send(job("2"), token=TOKEN), Unknown)
    assert slots.lingered == [30.0]


async def test_no_answer_in_time_leaves_the_job_in_doubt_and_the_slot_taken_until_settle() -> None:
    async def handle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await reader.read(-1)

    slots = FakeSlots()
    outcome = await outcome_of(handle, slots, timeout_s=SHORT_S)
    assert isinstance(outcome, Unknown)
    assert (outcome.scenario, outcome.http_status) == (Scenario.TIMED_OUT, None)
    assert outcome.latency_ms >= SHORT_S * 1000 * 0.9
    assert slots.lingered == [30.0]


CUT = http(201, created()[:20], length=len(created()))


@pytest.mark.parametrize(
    "head",
    [
        CUT,
        b'HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"dat',
        b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\n",
    ],
)
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_201_whose_body_is_cut_off_is_accepted(head: bytes, how: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        await writer.drain()
        if how == "reset":
            reset(writer)

    slots = FakeSlots()
    outcome = await outcome_of(handle, slots)
    if how == "reset" and isinstance(outcome, Unknown):
        # A RST may overtake the bytes before it; then nothing of the answer was there to be read.
        assert outcome.scenario is Scenario.CONNECTION_LOST
    else:
        assert isinstance(outcome, Accepted)
        assert outcome.send_id is None
        assert outcome.message
    assert slots.lingered == [30.0]


async def test_a_400_whose_body_is_cut_off_may_be_that_of_a_taken_name() -> None:
    body = error_body("A SMS with the name: Spring sale already exists")
    outcome = await outcome_of(answering(http(400, body[:30], length=len(body))))
    assert isinstance(outcome, Unknown)
    assert (outcome.scenario, outcome.http_status) == (Scenario.CONNECTION_LOST, 400)


@pytest.mark.parametrize(("status", "kind"), [(201, Accepted), (400, Unknown)])
async def test_an_answer_that_drips_is_given_up_in_time(status: int, kind: type[Outcome]) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(http(status, b"{", length=1000))
        while True:
            await asyncio.sleep(SHORT_S / 10)
            writer.write(b" ")
            await writer.drain()

    slots = FakeSlots()
    outcome = await outcome_of(handle, slots, timeout_s=SHORT_S)
    assert isinstance(outcome, kind)
    assert slots.lingered == [30.0]


async def test_a_drip_that_ends_in_time_is_a_whole_answer() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for byte in http(201, created()):
            writer.write(bytes([byte]))
            await writer.drain()

    outcome = await outcome_of(handle)
    assert isinstance(outcome, Accepted)
    assert outcome.send_id == "4396816"


async def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not() -> None:
    padded = created().ljust(ANSWER_LIMIT)
    outcome = await outcome_of(answering(http(201, padded)))
    assert isinstance(outcome, Accepted)
    assert outcome.send_id == "4396816"
    with capture_logs() as logs:
        outcome = await outcome_of(answering(http(201, padded + b" ")))
    assert isinstance(outcome, Accepted)
    assert outcome.send_id is None
    assert [log["event"] for log in logs] == ["answer_oversized"]


async def test_a_compressed_refusal_is_read_and_a_damaged_one_costs_its_text_alone() -> None:
    packed = gzip.compress(error_body("A SMS with the name: x already exists"))
    assert isinstance(await outcome_of(answering(http(400, packed, "Content-Encoding: gzip"))), NameTaken)
    outcome = await outcome_of(answering(http(400, packed[:-9], "Content-Encoding: gzip")))
    assert isinstance(outcome, Unknown)
    assert (outcome.scenario, outcome.http_status) == (Scenario.UNREADABLE_RESPONSE, 400)


async def test_a_taken_name_is_known_behind_a_megabyte_of_name() -> None:
    body = error_body(f"A SMS with the name: {'x' * 900_000} already exists")
    outcome = await outcome_of(answering(http(400, body)))
    assert isinstance(outcome, NameTaken)
    assert len(outcome.message) <= 500


@pytest.mark.parametrize(("status", "kind"), [(201, Accepted), (400, Unknown), (500, Unknown)])
async def test_a_body_without_end_is_given_up_at_its_limit(status: int, kind: type[Outcome]) -> None:
    written = 0
    gone = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        try:
            while True:
                writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                await writer.drain()
                written += 65536
        finally:
            gone.set()

    async with raw_server(handle) as url, client_for(url, FakeSlots(), timeout_s=30.0) as client:
        outcome = await client.send(job(), token=TOKEN)
        await gone.wait()  # the connection was closed, so the server could not go on
    assert isinstance(outcome, kind)
    assert written < 64 * 1024 * 1024


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 201 Created\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 201 Created\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 201 " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 2o1 Created\r\n\r\n",
        b"SMTP ready\r\n\r\n",
        b"\x00\xff\xfe\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"HTTP/1.1 201 Created\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 201 Created\r\nX\x00: y\r\n\r\n",
    ],
)
async def test_an_answer_that_is_no_http_or_has_hostile_headers_leaves_the_job_in_doubt(answer: bytes) -> None:
    slots = FakeSlots()
    outcome = await outcome_of(answering(answer), slots)
    assert isinstance(outcome, Unknown)
    assert outcome.scenario is Scenario.CONNECTION_LOST
    assert len(outcome.message) <= 500
    assert slots.lingered == [30.0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    elsewhere: list[str] = []

    async def other(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        elsewhere.append((await read_request(reader))[0])

    async with raw_server(other) as other_url:
        outcome = await outcome_of(answering(http(status, b"", f"Location: {other_url}/")))
    assert isinstance(outcome, Unknown)
    assert (outcome.scenario, outcome.http_status) == (Scenario.UNRECOGNIZED, status)
    assert elsewhere == []


@pytest.mark.parametrize("head", [b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"])
async def test_a_switch_of_protocols_leaves_the_job_in_doubt_without_waiting(head: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        await reader.read(-1)

    outcome = await outcome_of(handle)
    assert isinstance(outcome, Unknown)
    assert outcome.http_status in (101, None)


async def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    assert isinstance(await outcome_of(answering(interim + http(201, created()))), Accepted)


async def test_a_cancelled_send_ends_at_once_and_its_connection_is_not_used_again() -> None:
    requests: list[str] = []
    arrived = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await read_request(reader))[0])
        arrived.set()
        if len(requests) == 1:
            await reader.read(-1)
        writer.write(http(201, created(len(requests))))

    slots = FakeSlots()
    async with raw_server(handle) as url, client_for(url, slots) as client:
        task = asyncio.create_task(client.send(job("1"), token=TOKEN))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (slots.in_use, slots.lingered) == (0, [30.0])
        outcome = await client.send(job("2"), token=TOKEN)
    assert isinstance(outcome, Accepted)
    assert outcome.send_id == "2"
