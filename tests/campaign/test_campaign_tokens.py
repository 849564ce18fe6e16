from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from campaign.campaign_fakes import FakeTime, answer
from structlog.testing import capture_logs

from runner.campaign.exchange import Answer, Ending
from runner.campaign.tokens import EARLY_AGAIN_S, Tokens
from runner.errors import TokenRefusedError, TokenUnavailableError
from runner.model import NotConnected

HOUR = 3600.0
REFUSED = answer(400, orjson.dumps({"error": "invalid_grant", "error_description": "refresh-S3CR3T is wrong"}))
LIMITS = answer(400, orjson.dumps({"error_description": "Access token limits exceeded"}))
DOWN = NotConnected(message="no route")


def granted(value: str, expires_in: int = 14_400) -> Answer:
    return answer(200, orjson.dumps({"access_token": value, "expires_in": expires_in}))


@dataclass
class Endpoint:
    """A token endpoint that gives what it is told; asked for more it grants tok-S3CR3T-1 and so on."""

    script: list[Ending] = field(default_factory=list)
    asked: int = 0
    granted: int = 0
    gate: asyncio.Event | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, form: Mapping[str, str]) -> Ending:
        """Answer one request."""
        assert form == {
            "grant_type": "refresh_token",
            "client_id": "client",
            "client_secret": "client-S3CR3T",
            "refresh_token": "refresh-S3CR3T",
        }
        self.asked += 1
        self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.script:
            return self.script.pop(0)
        self.granted += 1
        return granted(f"tok-S3CR3T-{self.granted}")


def tokens_of(endpoint: Endpoint, time: FakeTime, folder: Path | None = None) -> Tokens:
    return Tokens(
        base_url="https://api.test",
        client_id="client",
        client_secret="client-S3CR3T",
        refresh_token="refresh-S3CR3T",
        cache_dir=folder,
        request=endpoint,
        wall=time.wall,
        backoff=time.backoff(),
    )


async def test_a_token_is_asked_for_once_and_used_for_three_hours() -> None:
    endpoint, time = Endpoint(), FakeTime()
    tokens = tokens_of(endpoint, time)
    assert await tokens.get() == "tok-S3CR3T-1"
    time.now += 3 * HOUR - 1
    assert await tokens.get() == "tok-S3CR3T-1"
    assert endpoint.asked == 1


async def test_after_three_hours_it_is_renewed_before_it_ends() -> None:
    endpoint, time = Endpoint(), FakeTime()
    tokens = tokens_of(endpoint, time)
    await tokens.get()
    time.now += 3 * HOUR
    assert await tokens.get() == "tok-S3CR3T-2"
    assert await tokens.get() == "tok-S3CR3T-2"
    assert endpoint.asked == 2


@pytest.mark.parametrize("trouble", [DOWN, LIMITS, REFUSED, answer(500)], ids=str)
async def test_an_early_renewal_that_fails_falls_back_to_the_token_that_still_lives(trouble: Ending) -> None:
    endpoint, time = Endpoint(), FakeTime()
    tokens = tokens_of(endpoint, time)
    await tokens.get()
    endpoint.script = [trouble, trouble]
    time.now += 3 * HOUR
    with capture_logs() as logs:
        assert await tokens.get() == "tok-S3CR3T-1"
    assert time.slept == []  # nobody is made to wait while the old one will do
    assert "token_renewal_postponed" in [log["event"] for log in logs]
    assert await tokens.get() == "tok-S3CR3T-1"
    assert endpoint.asked == 2  # and not asked again at once
    time.now += EARLY_AGAIN_S
    assert await tokens.get() == "tok-S3CR3T-1"
    time.now += EARLY_AGAIN_S
    assert await tokens.get() == "tok-S3CR3T-2"
    assert endpoint.asked == 4


async def test_a_token_at_its_end_is_not_handed_out_though_no_other_is_to_be_had() -> None:
    endpoint, time = Endpoint(), FakeTime()
    tokens = tokens_of(endpoint, time)
    await tokens.get()
    endpoint.script = [REFUSED]
    time.now += 4 * HOUR - 59
    with pytest.raises(TokenRefusedError):
        await tokens.get()


async def test_a_renewal_that_brings_the_same_token_does_not_make_it_younger() -> None:
    endpoint, time = Endpoint(), FakeTime()
    tokens = tokens_of(endpoint, time)
    first = await tokens.current()
    endpoint.script = [granted("tok-S3CR3T-1"), granted("tok-S3CR3T-1")]
    time.now += 3 * HOUR
    assert (await tokens.current()).expires_at == first.expires_at
    assert await tokens.get() == "tok-S3CR3T-1"
    assert endpoint.asked == 2  # some minutes pass before the next try
    time.now += HOUR - 90
    assert await tokens.get() == "tok-S3CR3T-1"
    time.now += 60
    assert await tokens.get() == "tok-S3CR3T-2"


async def test_others_go_on_with_the_old_token_while_one_renews_it_early() -> None:
    endpoint, time = Endpoint(), FakeTime()
    tokens = tokens_of(endpoint, time)
    await tokens.get()
    time.now += 3 * HOUR
    endpoint.gate = asyncio.Event()
    endpoint.begun.clear()
    renewing = asyncio.create_task(tokens.get())
    await endpoint.begun.wait()
    assert await tokens.get() == "tok-S3CR3T-1"
    endpoint.gate.set()
    assert await renewing == "tok-S3CR3T-2"


async def test_all_who_need_a_token_at_once_share_one_request() -> None:
    endpoint, time = Endpoint(gate=asyncio.Event()), FakeTime()
    tokens = tokens_of(endpoint, time)
    waiting = [asyncio.create_task(tokens.get()) for _ in range(10)]
    await endpoint.begun.wait()
    assert endpoint.gate is not None
    endpoint.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"tok-S3CR3T-1"}
    assert endpoint.asked == 1


@pytest.mark.parametrize("again", [False, True])
async def test_all_whose_token_was_refused_share_one_request_also_if_it_brings_the_same(again: bool) -> None:  # noqa: FBT001
    endpoint, time = Endpoint(), FakeTime()
    tokens = tokens_of(endpoint, time)
    refused = await tokens.get()
    endpoint.script = [granted(refused)] if again else []
    endpoint.gate = asyncio.Event()
    endpoint.begun.clear()
    waiting = [asyncio.create_task(tokens.renew(refused)) for _ in range(10)]
    await endpoint.begun.wait()
    endpoint.gate.set()
    expected = refused if again else "tok-S3CR3T-2"
    assert set(await asyncio.gather(*waiting)) == {expected}
    assert await tokens.renew(refused) == expected  # a late one, whose refusal took longer to arrive
    assert endpoint.asked == 2


async def test_all_who_wait_share_a_failure_too() -> None:
    endpoint, time = Endpoint(script=[REFUSED], gate=asyncio.Event()), FakeTime()
    tokens = tokens_of(endpoint, time)
    waiting = [asyncio.create_task(tokens.get()) for _ in range(10)]
    await endpoint.begun.wait()
    assert endpoint.gate is not None
    endpoint.gate.set()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(error) for error in errors} == {TokenRefusedError}
    assert len({str(error) for error in errors}) == 1
    assert endpoint.asked == 1
    assert await tokens.get() == "tok-S3CR3T-1"  # who comes later tries anew


async def test_a_round_that_is_cancelled_is_taken_over_by_the_next_in_line() -> None:
    endpoint, time = Endpoint(gate=asyncio.Event()), FakeTime()
    tokens = tokens_of(endpoint, time)
    first = asyncio.create_task(tokens.get())
    await endpoint.begun.wait()
    second = asyncio.create_task(tokens.get())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert endpoint.gate is not None
    endpoint.gate.set()
    assert await second == "tok-S3CR3T-1"
    assert endpoint.asked == 2


async def test_a_refused_token_is_not_got_from_a_round_that_fell_back_to_it() -> None:
    endpoint, time = Endpoint(), FakeTime()
    tokens = tokens_of(endpoint, time)
    old = await tokens.get()
    time.now += 3 * HOUR
    endpoint.script = [DOWN]
    endpoint.gate = asyncio.Event()
    endpoint.begun.clear()
    early = asyncio.create_task(tokens.get())
    await endpoint.begun.wait()
    renewed = asyncio.create_task(tokens.renew(old))
    await asyncio.sleep(0)
    endpoint.gate.set()
    assert await early == old
    assert await renewed == "tok-S3CR3T-2"


async def test_tries_are_spread_over_a_minute_and_then_the_reason_is_told() -> None:
    endpoint, time = Endpoint(script=[DOWN] * 99), FakeTime()
    with pytest.raises(TokenUnavailableError, match="could not be reached"):
        await tokens_of(endpoint, time).get()
    assert time.slept == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    assert endpoint.asked == 7


async def test_waits_are_jittered_over_their_whole_range() -> None:
    time = FakeTime()
    backoff = time.backoff()
    for failures, ceiling in enumerate([1.0, 2.0, 4.0, 8.0, 16.0, 30.0], start=1):
        assert backoff.ceiling_s(failures) == ceiling
    assert [backoff.wait_s(n) for n in (6, 7, 8)] == [30.0, None, None]
    ranges: list[tuple[float, float]] = []

    def lowest(low: float, high: float) -> float:
        ranges.append((low, high))
        return low

    assert type(backoff)(uniform=lowest).wait_s(3) == 0.0
    assert ranges == [(0.0, 4.0)]


async def test_a_throttle_that_passes_brings_the_token_after_what_the_server_asked_for() -> None:
    throttle = answer(429, b"", retry_after_s=50.0)
    endpoint, time = Endpoint(script=[LIMITS, throttle]), FakeTime()
    assert await tokens_of(endpoint, time).get() == "tok-S3CR3T-1"
    assert time.slept == [1.0, 50.0]


async def test_a_throttle_that_stays_is_an_error_with_its_remedy() -> None:
    endpoint, time = Endpoint(script=[LIMITS] * 99), FakeTime()
    with pytest.raises(TokenUnavailableError, match="no more access tokens") as caught:
        await tokens_of(endpoint, time).get()
    assert caught.value.remedy


async def test_refused_credentials_are_not_tried_again() -> None:
    endpoint, time = Endpoint(script=[REFUSED]), FakeTime()
    with pytest.raises(TokenRefusedError):
        await tokens_of(endpoint, time).get()
    assert (endpoint.asked, time.slept) == (1, [])


async def test_the_next_run_uses_the_token_of_the_last_one(tmp_path: Path) -> None:
    endpoint, time = Endpoint(), FakeTime()
    await tokens_of(endpoint, time, tmp_path).get()
    time.now += 2 * HOUR
    tokens = tokens_of(endpoint, time, tmp_path)
    assert await tokens.get() == "tok-S3CR3T-1"
    assert endpoint.asked == 1
    time.now += HOUR
    assert await tokens.get() == "tok-S3CR3T-2"


async def test_an_older_token_on_disk_serves_when_no_new_one_is_to_be_had(tmp_path: Path) -> None:
    endpoint, time = Endpoint(), FakeTime()
    await tokens_of(endpoint, time, tmp_path).get()
    time.now += 3.5 * HOUR
    endpoint.script = [LIMITS]
    assert await tokens_of(endpoint, time, tmp_path).get() == "tok-S3CR3T-1"
    assert time.slept == []


@pytest.mark.parametrize("hours", [-1.0, 4.0])
async def test_a_token_on_disk_that_is_over_or_from_the_future_is_not_used(tmp_path: Path, hours: float) -> None:
    endpoint, time = Endpoint(), FakeTime()
    await tokens_of(endpoint, time, tmp_path).get()
    time.now += hours * HOUR
    assert await tokens_of(endpoint, time, tmp_path).get() == "tok-S3CR3T-2"


async def test_a_token_refused_here_that_another_run_has_replaced_is_not_asked_for_again(tmp_path: Path) -> None:
    endpoint, time = Endpoint(), FakeTime()
    one, other = tokens_of(endpoint, time, tmp_path), tokens_of(endpoint, time, tmp_path)
    refused = await one.get()
    assert await other.get() == refused
    assert await one.renew(refused) == "tok-S3CR3T-2"
    assert await other.renew(refused) == "tok-S3CR3T-2"
    assert endpoint.asked == 2


async def test_the_refused_token_on_disk_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    endpoint, time = Endpoint(), FakeTime()
    tokens = tokens_of(endpoint, time, tmp_path)
    refused = await tokens.get()
    assert await tokens_of(endpoint, time, tmp_path).renew(refused) == "tok-S3CR3T-2"


async def test_a_cache_that_cannot_be_written_costs_a_warning_and_no_token(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    endpoint, time = Endpoint(), FakeTime()
    with capture_logs() as logs:
        tokens = tokens_of(endpoint, time, tmp_path / "file")
        assert await tokens.get() == "tok-S3CR3T-1"
        assert await tokens.renew("tok-S3CR3T-1") == "tok-S3CR3T-2"
    assert [log["event"] for log in logs].count("token_cache_unwritable") == 1


ASKING = """
import asyncio, pathlib, sys, orjson
from runner.campaign.answers import Reading
from runner.campaign.backoff import Backoff
from runner.campaign.exchange import Answer
from runner.campaign.tokens import Tokens

folder = pathlib.Path(sys.argv[1])

async def request(form):
    with (folder / "asked").open("a") as asked:
        asked.write("x")
    print("begun", file=sys.stderr, flush=True)
    while not (folder / "go").exists():
        await asyncio.sleep(0.01)
    body = orjson.dumps({"access_token": "tok-" + sys.argv[2], "expires_in": 14400})
    return Answer(status=200, body=body, retry_after_s=None, latency_ms=1.0, reading=Reading())

async def sleep(seconds):
    print("waiting", file=sys.stderr, flush=True)
    await asyncio.sleep(seconds)

tokens = Tokens(base_url="https://api.test", client_id="c", client_secret="s", refresh_token="r",
                cache_dir=folder / "cache", request=request, backoff=Backoff(sleep=sleep))
print(asyncio.run(tokens.get()))
"""


async def test_two_processes_that_start_at_once_ask_for_one_token(tmp_path: Path) -> None:
    async def started(name: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASKING, str(tmp_path), name, stdout=-1, stderr=-1, env=dict(os.environ)
        )

    first = await started("1")
    assert first.stderr is not None
    assert await first.stderr.readline() == b"begun\n"
    second = await started("2")
    assert second.stderr is not None
    assert await second.stderr.readline() == b"waiting\n"
    (tmp_path / "go").touch()
    told = [await process.communicate() for process in (first, second)]
    assert {out.split()[-1] for out, _ in told if out} == {b"tok-1"}, told
    assert (tmp_path / "asked").read_text() == "x"


async def test_no_secret_is_in_a_log_an_error_or_a_repr(tmp_path: Path) -> None:
    endpoint, time = Endpoint(script=[LIMITS, DOWN]), FakeTime()
    with capture_logs() as logs:
        tokens = tokens_of(endpoint, time, tmp_path)
        token = await tokens.current()
        endpoint.script = [REFUSED]
        with pytest.raises(TokenRefusedError) as caught:
            await tokens.renew(token.value)
    error = caught.value
    said = f"{logs} {tokens!r} {token!r} {error!r} {error} {error.__dict__} {error.__cause__!r} {error.__context__!r}"
    assert "S3CR3T" not in said
    assert [log["event"] for log in logs] == [
        "token_requested",
        "token_request_failed",
        "token_requested",
        "token_request_failed",
        "token_requested",
        "token_renewed",
        "token_requested",
    ]
