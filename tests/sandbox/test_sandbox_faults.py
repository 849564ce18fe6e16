"""Each fault does what its line in the table says: to the books, and on the wire."""

import asyncio
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox.sandbox_client import LIST, Api, quick, serving

from runner.errors import ConfigurationError
from runner.sandbox.faults import FAULTS, FaultKind, FaultRule, Faults, parse_faults
from runner.sandbox.traffic import Endpoint

BOUND = 2**20
RESET = b"<reset>"

SENDS = [kind for kind, note in FAULTS.items() if note.endpoint is Endpoint.SEND]


async def wire(api: Api, name: str = "Sale") -> bytes:
    """Post a send; all bytes that came back, up to a bound, and a mark where the connection was reset."""
    reader, writer = await api.open(name)
    seen = b""
    try:
        while len(seen) < BOUND and (chunk := await reader.read(65_536)):
            seen += chunk
    except ConnectionResetError:
        seen += RESET
    finally:
        writer.close()
    await api.quiet()
    return seen


def status_of(seen: bytes) -> int:
    return int(seen.split(b" ", 2)[1])


def body_of(seen: bytes) -> bytes:
    return seen.partition(b"\r\n\r\n")[2]


def headers_of(seen: bytes) -> dict[str, str]:
    lines = seen.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def is_whole_201(seen: bytes) -> bool:
    return status_of(seen) == 201 and json.loads(body_of(seen))["data"]["id"] >= 4396816


def says(status: int) -> Callable[[bytes], bool]:
    return lambda seen: status_of(seen) == status and json.loads(body_of(seen)) is not None


ON_THE_WIRE: dict[FaultKind, Callable[[bytes], bool]] = {
    FaultKind.RESET_BEFORE: lambda seen: seen == RESET,
    FaultKind.RESET_DURING: lambda seen: seen == RESET,
    FaultKind.RESET_AFTER: lambda seen: seen == RESET,
    FaultKind.LATE_ANSWER: is_whole_201,
    FaultKind.ERROR_500_BEFORE: says(500),
    FaultKind.ERROR_502_BEFORE: says(502),
    FaultKind.ERROR_503_BEFORE: says(503),
    FaultKind.ERROR_504_BEFORE: says(504),
    FaultKind.ERROR_500_AFTER: says(500),
    FaultKind.ERROR_502_AFTER: says(502),
    FaultKind.ERROR_503_AFTER: says(503),
    FaultKind.ERROR_504_AFTER: says(504),
    FaultKind.EMPTY_201: lambda seen: status_of(seen) == 201 and body_of(seen) == b"",
    FaultKind.CUT_201: lambda seen: (
        status_of(seen) == 201 and 0 < len(body_of(seen)) < int(headers_of(seen)["content-length"])
    ),
    FaultKind.GARBLED_201: lambda seen: status_of(seen) == 201 and b"\xff\xfe" in body_of(seen),
    FaultKind.DRIP: is_whole_201,
    FaultKind.HUGE_HEADERS: lambda seen: is_whole_201(seen) and len(headers_of(seen)["x-padding"]) == 262_144,
    FaultKind.ODD_CHARSET: lambda seen: is_whole_201(seen) and "klingon" in headers_of(seen)["content-type"],
    FaultKind.HTML_ERROR: lambda seen: status_of(seen) == 502 and b"<html>" in body_of(seen),
    FaultKind.ENDLESS_BODY: lambda seen: status_of(seen) == 500 and len(seen) >= BOUND,
    FaultKind.REDIRECT: lambda seen: (
        status_of(seen) == 302 and headers_of(seen)["location"].startswith("https://elsewhere.invalid/")
    ),
    FaultKind.THROTTLE: says(429),
    FaultKind.UNAUTHORIZED: says(401),
    FaultKind.EXPIRE_TOKEN: says(401),
}


def test_every_fault_has_its_line_and_every_fault_of_a_send_its_proof() -> None:
    assert set(FAULTS) == set(FaultKind)
    assert set(SENDS) == set(ON_THE_WIRE)
    assert all(note.meaning.endswith(".") for note in FAULTS.values())


@pytest.mark.parametrize("kind", SENDS)
async def test_a_fault_is_seen_on_the_wire_and_in_the_books_as_its_line_says(kind: FaultKind) -> None:
    async with serving(quick(f"{kind}@2")) as api:
        assert is_whole_201(await wire(api, "before"))
        seen = await wire(api)
        assert ON_THE_WIRE[kind](seen), seen[:500]
        assert ("Sale" in api.names()) is FAULTS[kind].accepted
        assert api.sandbox.stats().faults == {kind: 1}
        await api.log_in()
        assert (await api.send("Sale")).status == (400 if FAULTS[kind].accepted else 201)
        assert api.names().count("Sale") == 1


@pytest.mark.parametrize(
    "kind",
    [FaultKind.EMPTY_201, FaultKind.CUT_201, FaultKind.GARBLED_201, FaultKind.ODD_CHARSET, FaultKind.HUGE_HEADERS],
)
async def test_a_job_that_is_refused_never_gets_a_201(kind: FaultKind) -> None:
    async with serving(quick(f"{kind}=1")) as api:
        reply = await api.send("   ")
        assert (reply.status, reply.message) == (400, "Invalid message name")


async def test_a_reset_during_the_work_is_felt_before_the_acceptance_which_comes_all_the_same() -> None:
    gate = asyncio.Event()
    async with serving(quick("reset_during@1"), gate=gate) as api:
        reader, writer = await api.open()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert (api.names(), api.sandbox.stats().running) == ([], 1)
        gate.set()
        await api.quiet()
        assert api.names() == ["Sale"]
        assert api.sandbox.stats().given_up == 0


async def test_a_late_answer_is_accepted_long_before_it_comes_and_holds_its_slot() -> None:
    async with serving(quick("late_answer@1", late_s=3600)) as api:
        reader, writer = await api.open()
        await api.sandbox.until(lambda stats: stats.accepted == 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        assert api.sandbox.stats().running == 1
        writer.close()


async def test_a_dripping_answer_brings_one_byte_at_a_time_and_holds_its_slot() -> None:
    async with serving(quick("drip@1", late_s=3600)) as api:
        reader, writer = await api.open()
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(1) == b"{"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        assert (api.names(), api.sandbox.stats().running) == (["Sale"], 1)
        writer.close()


async def test_a_client_that_leaves_a_dripping_answer_frees_its_slot() -> None:
    async with serving(quick("drip@1", late_s=2)) as api:
        reader, writer = await api.open()
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await api.quiet()


async def test_expiring_the_tokens_refuses_them_until_a_new_one_is_asked_for() -> None:
    async with serving(quick("expire_token@2")) as api:
        old = api.token
        assert [(await api.send(name)).status for name in "abc"] == [201, 401, 401]
        await api.log_in()
        assert api.token != old
        assert (await api.send("b")).status == 201


async def test_a_refused_token_that_is_good_stays_good() -> None:
    async with serving(quick("unauthorized@1")) as api:
        assert [(await api.send("a")).status, (await api.send("a")).status] == [401, 201]


async def test_some_throttles_say_how_long_to_wait_and_some_do_not() -> None:
    async with serving(quick("throttle=1")) as api:
        replies = [await api.send() for _ in range(20)]
    assert {reply.headers.get("Retry-After") for reply in replies} == {None, "1"}
    assert {reply.status for reply in replies} == {429}


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        ("token_500", 500, "Internal"),
        ("token_refused", 400, "invalid_grant"),
        ("token_limits", 400, "Access token limits exceeded"),
    ],
)
async def test_faults_of_the_token_endpoint(kind: str, status: int, word: str) -> None:
    async with serving(quick(f"{kind}@2")) as api:
        reply = await api.log_in()
        assert (reply.status, word in reply.body.decode()) == (status, True)
        assert (await api.log_in()).status == 200
        assert api.sandbox.stats().faults == {kind: 1}


async def test_a_slow_token_holds_its_slot_until_it_is_granted() -> None:
    async with serving(quick("token_slow@1", late_s=3600), log_in=False) as api:
        asking = asyncio.ensure_future(api.log_in())
        await api.sandbox.until(lambda stats: stats.running == 1)
        done, _ = await asyncio.wait({asking}, timeout=0.05)
        assert not done
        assert api.sandbox.stats().token_grants == 0
        asking.cancel()


async def test_the_next_page_can_lie_elsewhere() -> None:
    async with serving(quick("next_page_elsewhere@2")) as api:
        pages = [(await api.ask("GET", LIST)).json["meta"]["nextPageUrl"] for _ in range(2)]
    assert pages == [None, "http://elsewhere.invalid" + LIST + "?page=2"]


async def test_refused_requests_use_up_no_number() -> None:
    gate = asyncio.Event()
    async with serving(quick("500_before@2", max_concurrent=1), gate=gate) as api:
        first = asyncio.ensure_future(api.send("one"))
        await api.sandbox.until(lambda stats: stats.running == 1)
        assert (await api.send("refused")).status == 429
        gate.set()
        assert [(await first).status, (await api.send("two")).status] == [201, 500]


async def test_a_seed_replays_whatever_the_order_in_time() -> None:
    async def run(seed: int) -> list[int]:
        async with serving(quick("500_before=0.3", "503_after=0.3", f"seed={seed}")) as api:
            return [(await api.send(f"job {number}")).status for number in range(30)]

    first, again, other = await run(7), await run(7), await run(8)
    assert first == again != other
    assert set(first) == {201, 500, 503}


@given(seed=st.integers(0, 1000), number=st.integers(1, 1000))
@settings(max_examples=50, deadline=None)
def test_the_dice_know_only_seed_number_and_kind(seed: int, number: int) -> None:
    alone = Faults(rules=(FaultRule(kind=FaultKind.DRIP, probability=0.5),))
    among = Faults(rules=(*alone.rules, FaultRule(kind=FaultKind.TOKEN_500, probability=1.0)), seed=seed)
    assert alone.play(Endpoint.SEND, number, seed=seed) == among.play(Endpoint.SEND, number, seed=seed + 1)


def test_chance_comes_near_its_probability() -> None:
    faults = parse_faults(["drip=0.2"])
    hits = sum(faults.play(Endpoint.SEND, number, seed=1) is not None for number in range(2000))
    assert 320 < hits < 480


def test_a_named_request_goes_before_chance() -> None:
    faults = parse_faults(["drip=1", "throttle@3"])
    played = [faults.play(Endpoint.SEND, number, seed=0) for number in (2, 3)]
    assert played == [FaultKind.DRIP, FaultKind.THROTTLE]


def test_the_grammar() -> None:
    assert parse_faults(["reset_after=0.25 seed=9", "500_before@3,17"]) == Faults(
        rules=(
            FaultRule(kind=FaultKind.RESET_AFTER, probability=0.25),
            FaultRule(kind=FaultKind.ERROR_500_BEFORE, numbers=frozenset({3, 17})),
        ),
        seed=9,
    )
    assert parse_faults([]) == parse_faults(["  "]) == Faults()


@pytest.mark.parametrize(
    "spec",
    [
        "drip",
        "drip=",
        "drip@",
        "drip@0",
        "drip@1,",
        "drip@x",
        "drip=2",
        "drip=-0.1",
        "drip=nan",
        "drip=x",
        "nonsense=1",
        "seed=x",
        "seed@1",
        "=1",
        "drip=0.1@3",
    ],
)
def test_a_spec_that_is_not_understood_is_refused(spec: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_faults([spec])


def test_an_unknown_kind_is_answered_with_all_kinds() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_faults(["rest_before@1"])
    assert all(kind in str(caught.value) for kind in FaultKind)
