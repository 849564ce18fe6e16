"""The client against mocked answers: what each answer means, and what is sent."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp.client_reqrep import ConnectionKey
from campaign.campaign_fakes import (
    BASE,
    SEND_PATH,
    TOKEN,
    FakeSlots,
    client_for,
    created,
    error_body,
    job,
    mocked_api,
)
from structlog.testing import capture_logs

from runner.model import (
    Accepted,
    NameTaken,
    NotConnected,
    Outcome,
    Refused,
    Scenario,
    Throttled,
    Unauthorized,
    Unknown,
)

SEND_URL = BASE + SEND_PATH


async def outcome_of(slots: FakeSlots | None = None, **answer: Any) -> Outcome:
    with mocked_api() as api:
        api.post(SEND_URL, **answer)
        async with client_for(BASE, slots or FakeSlots()) as client:
            return await client.send(job(), token=TOKEN)


async def test_a_201_with_an_id_is_accepted() -> None:
    outcome = await outcome_of(status=201, body=created())
    assert isinstance(outcome, Accepted)
    assert outcome.send_id == "4396816"
    assert outcome.latency_ms > 0


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b"\xff\xfe\x00", b'{"data":{"id":43'])
async def test_a_201_is_accepted_whatever_its_body(body: bytes) -> None:
    outcome = await outcome_of(status=201, body=body)
    assert isinstance(outcome, Accepted)
    assert outcome.send_id is None
    assert outcome.message


@pytest.mark.parametrize(
    ("status", "message", "scenario"),
    [
        (400, "Contact source is not enabled for SMS.", Scenario.CONTACT_SOURCE_NOT_SMS_ENABLED),
        (400, "Unable to find published DeliveryDraft with contentId x", Scenario.PUBLISHED_MESSAGE_NOT_FOUND),
        (403, "Forbidden", Scenario.FORBIDDEN),
        (404, "", Scenario.PUBLISHED_MESSAGE_ID_MISSING),
        (400, "something new", Scenario.UNRECOGNIZED),
    ],
)
async def test_a_refusal_keeps_its_scenario_code_and_message(status: int, message: str, scenario: Scenario) -> None:
    outcome = await outcome_of(status=status, body=error_body({"message": message}) if message else b"")
    assert isinstance(outcome, Refused)
    assert (outcome.scenario, outcome.http_status, outcome.message) == (scenario, status, message)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html><h1>Not Found</h1></html>", "text/html"),
        (b"Not Found", "text/plain"),
        (b"<p>Not Found", "application/json"),
    ],
)
async def test_a_404_of_a_wrong_address_is_not_told_as_a_missing_id(body: bytes, content_type: str) -> None:
    outcome = await outcome_of(status=404, body=body, content_type=content_type)
    assert isinstance(outcome, Refused)
    assert (outcome.scenario, outcome.message) == (Scenario.UNRECOGNIZED, "Not Found")


async def test_a_taken_name_is_its_own_outcome() -> None:
    outcome = await outcome_of(status=400, body=error_body("A SMS with the name: Spring sale already exists"))
    assert isinstance(outcome, NameTaken)


async def test_a_401_names_the_token_that_was_refused() -> None:
    outcome = await outcome_of(status=401)
    assert isinstance(outcome, Unauthorized)
    assert outcome.token == TOKEN


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Sun, 15 Jun 2025 15:07:50 GMT", 70.0), ("later", None)])
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_comes_along_and_the_governor_is_told(
    status: int, header: str, seconds: float | None
) -> None:
    slots = FakeSlots()
    outcome = await outcome_of(slots, status=status, headers={"Retry-After": header})
    assert isinstance(outcome, Throttled if status == 429 else Unknown)
    assert outcome.retry_after_s == seconds
    assert slots.refusals == 1


async def test_a_4xx_that_speaks_of_concurrency_tells_the_governor_and_other_refusals_do_not() -> None:
    slots = FakeSlots()
    assert isinstance(await outcome_of(slots, status=400, body=error_body("Too many concurrent requests")), Throttled)
    assert slots.refusals == 1
    await outcome_of(slots, status=400, body=error_body("A SMS with the name: Too many requests already exists"))
    await outcome_of(slots, status=401)
    await outcome_of(slots, status=500)
    assert slots.refusals == 1
    assert slots.lingered == []


@pytest.mark.parametrize(("status", "scenario"), [(500, Scenario.SERVER_ERROR), (307, Scenario.UNRECOGNIZED)])
async def test_a_5xx_and_a_redirect_leave_the_job_in_doubt(status: int, scenario: Scenario) -> None:
    outcome = await outcome_of(status=status, headers={"Location": "https://elsewhere.test/"})
    assert isinstance(outcome, Unknown)
    assert (outcome.scenario, outcome.http_status) == (scenario, status)


@pytest.mark.parametrize(("status", "lingered"), [(504, [30.0]), (502, [30.0]), (500, []), (503, []), (408, [])])
async def test_what_runs_on_behind_a_gateway_keeps_its_slot(status: int, lingered: list[float]) -> None:
    slots = FakeSlots()
    await outcome_of(slots, status=status)
    assert slots.lingered == lingered


async def test_a_compressed_answer_is_read_though_none_was_asked_for() -> None:
    body = gzip.compress(error_body("A SMS with the name: x already exists"))
    assert isinstance(await outcome_of(status=400, body=body, headers={"Content-Encoding": "gzip"}), NameTaken)


@pytest.mark.parametrize(("status", "kind"), [(201, Accepted), (400, Unknown), (401, Unauthorized), (500, Unknown)])
async def test_an_unreadable_compression_costs_the_text_and_not_the_code(status: int, kind: type[Outcome]) -> None:
    assert isinstance(await outcome_of(status=status, body=b"\x1b\x00", headers={"Content-Encoding": "br"}), kind)


async def test_a_charset_that_lies_is_no_error() -> None:
    body = error_body("A SMS with the name: Größe already exists")
    outcome = await outcome_of(status=400, body=body, content_type="application/json; charset=utf-32")
    assert isinstance(outcome, NameTaken)
    assert "Größe" in outcome.message


KEY = ConnectionKey("api.test", 443, True, True, None, None, None)
NOTHING_SENT = [
    aiohttp.ClientConnectorError(KEY, OSError(111, "refused")),
    aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "unknown name")),
    aiohttp.ClientProxyConnectionError(KEY, OSError(111, "refused")),
    aiohttp.ConnectionTimeoutError("slow"),
    aiohttp.InvalidURL("x"),
]
PERHAPS_SENT = [
    aiohttp.ClientConnectionError("?"),
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientOSError(104, "reset"),
    aiohttp.ClientConnectionResetError("closing"),
    aiohttp.ClientPayloadError("?"),
    aiohttp.ServerTimeoutError("late"),
    RuntimeError("the handler is closed"),
    ValueError("?"),
]


@pytest.mark.parametrize("error", NOTHING_SENT, ids=lambda error: type(error).__name__)
async def test_a_failure_to_connect_sent_nothing_and_frees_the_slot_at_once(error: Exception) -> None:
    slots = FakeSlots()
    assert isinstance(await outcome_of(slots, exception=error), NotConnected)
    assert (slots.in_use, slots.lingered) == (0, [])


@pytest.mark.parametrize("error", PERHAPS_SENT, ids=lambda error: type(error).__name__)
async def test_any_other_failure_may_have_sent_the_job_and_keeps_the_slot(error: Exception) -> None:
    slots = FakeSlots()
    outcome = await outcome_of(slots, exception=error)
    assert isinstance(outcome, Unknown)
    late = isinstance(error, TimeoutError)
    assert outcome.scenario is (Scenario.TIMED_OUT if late else Scenario.CONNECTION_LOST)
    assert outcome.http_status is None
    assert (slots.in_use, slots.lingered) == (0, [30.0])


async def test_a_slot_that_was_taken_for_the_job_is_the_one_used() -> None:
    own, taken = FakeSlots(), FakeSlots()
    with mocked_api() as api:
        api.post(SEND_URL, status=504)
        async with client_for(BASE, own) as client:
            await client.send(job(), token=TOKEN, held=taken.hold())
    assert (own.taken, taken.taken, taken.in_use, taken.lingered) == (0, 1, 0, [30.0])


async def test_a_request_carries_the_token_the_body_and_no_more_than_it_must() -> None:
    with mocked_api() as api:
        api.post(SEND_URL, status=201, body=created(), repeat=True)
        async with client_for(BASE, FakeSlots()) as client:
            await client.send(job("Größe", contact_source_id=7), token=TOKEN)
            await client.send(job("2"), token="tok-2")
        first, second = next(iter(api.requests.values()))
    assert first.kwargs["headers"]["Authorization"] == f"Bearer {TOKEN}"
    assert first.kwargs["headers"]["Content-Type"] == "application/json"
    assert orjson.loads(first.kwargs["data"]) == {"messageName": "Größe", "contactSourceId": 7}
    assert first.kwargs["allow_redirects"] is False
    assert second.kwargs["headers"]["Authorization"] == "Bearer tok-2"


async def test_a_base_url_with_a_path_keeps_it() -> None:
    with mocked_api() as api:
        api.post(f"{BASE}/mirror{SEND_PATH}", status=201, body=created())
        async with client_for(f"{BASE}/mirror", FakeSlots()) as client:
            assert isinstance(await client.send(job(), token=TOKEN), Accepted)


async def test_a_cancelled_request_keeps_its_slot_until_settle() -> None:
    slots, begun = FakeSlots(), asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    with mocked_api() as api:
        api.post(SEND_URL, callback=never)
        async with client_for(BASE, slots) as client:
            task = asyncio.create_task(client.send(job(), token=TOKEN))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert (slots.in_use, slots.lingered) == (0, [30.0])


async def test_a_client_outside_its_context_says_so_and_holds_no_slot() -> None:
    slots = FakeSlots()
    with pytest.raises(RuntimeError, match="context"):
        await client_for(BASE, slots).send(job(), token=TOKEN)
    assert slots.taken == 0


async def test_the_token_request_is_a_form_in_a_slot_of_its_own() -> None:
    slots = FakeSlots()
    with mocked_api() as api:
        api.post(f"{BASE}/oauth/token", status=200, payload={"access_token": "t"})
        async with client_for(BASE, slots) as client:
            await client.request_token({"grant_type": "refresh_token", "client_secret": "a&b=ü"})
        request = next(iter(api.requests.values()))[0]
    assert request.kwargs["data"] == b"grant_type=refresh_token&client_secret=a%26b%3D%C3%BC"
    assert request.kwargs["headers"]["Content-Type"] == "application/x-www-form-urlencoded"
    assert (slots.taken, slots.in_use) == (1, 0)


async def test_nothing_of_the_token_is_in_what_a_send_leaves_behind() -> None:
    with capture_logs() as logs:
        left = [
            repr(await outcome_of(status=401, body=error_body("expired"))),
            repr(await outcome_of(status=400, body=b"?", headers={"Content-Encoding": "br"})),
            repr(await outcome_of(exception=aiohttp.ServerDisconnectedError())),
        ]
    assert "S3CR3T" not in str(left) + str(logs)
