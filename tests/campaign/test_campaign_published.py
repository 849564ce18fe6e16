from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest
from campaign.campaign_fakes import (
    BASE,
    LIST_PATH,
    TOKEN,
    FakeSlots,
    FakeTime,
    MockedApi,
    client_for,
    error_body,
    mocked_api,
)
from structlog.testing import capture_logs
from yarl import URL

from runner.campaign.client import PAGES_LIMIT, TokenRejected
from runner.campaign.published import next_page, page_of
from runner.errors import ApiError, ExitCode, TokenRefusedError
from runner.model import PublishedMessage

LIST_URL = BASE + LIST_PATH


def page(*ids: str, next_url: str | None = None) -> dict[str, Any]:
    return {"meta": {"nextPageUrl": next_url}, "data": [{"id": one, "name": f"Message {one}"} for one in ids]}


async def listed(api: MockedApi, slots: FakeSlots | None = None, time: FakeTime | None = None) -> list[str]:
    assert isinstance(api, MockedApi)
    async with client_for(BASE, slots or FakeSlots(), time=time) as client:
        return [message.id for message in await client.published_messages(token=TOKEN)]


async def test_all_pages_are_read_in_order_each_in_a_slot_of_its_own() -> None:
    slots = FakeSlots()
    with mocked_api() as api:
        api.get(LIST_URL, payload=page("a", "b", next_url=f"{LIST_URL}?page=2"))
        api.get(f"{LIST_URL}?page=2", payload=page("c", next_url=f"{LIST_PATH}?page=3"))  # a relative one
        api.get(f"{LIST_URL}?page=3", payload=page("d"))
        assert await listed(api, slots) == ["a", "b", "c", "d"]
        headers = [calls[0].kwargs["headers"]["Authorization"] for calls in api.requests.values()]
    assert (slots.taken, slots.in_use) == (3, 0)
    assert headers == [f"Bearer {TOKEN}"] * 3


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.test/rest/channels/sms/publishedmessages?page=2",
        "http://api.test/rest/channels/sms/publishedmessages?page=2",
        "https://api.test:8443/rest/channels/sms/publishedmessages?page=2",
        "https://user@api.test/x",
        "https://api.test@evil.test/x",
        "//evil.test/x",
        "https://api.test.evil.test/x",
        "file:///etc/passwd",
        "https://[::1",
        "mailto:x",
    ],
)
async def test_the_next_page_is_followed_on_the_same_scheme_host_and_port_only(elsewhere: str) -> None:
    with mocked_api() as api:
        api.get(LIST_URL, payload=page("a", next_url=elsewhere))
        with pytest.raises(ApiError, match="not the API's"):
            await listed(api)
        assert len(api.requests) == 1


def test_an_address_with_the_default_port_is_the_same() -> None:
    assert str(next_page(URL(LIST_URL), f"https://API.test:443{LIST_PATH}?page=2#top")) == f"{LIST_URL}?page=2"


@pytest.mark.parametrize("circle", [LIST_URL, f"{LIST_URL}?page=2", "", "?page=2#other"])
async def test_a_list_that_leads_in_a_circle_is_left(circle: str) -> None:
    with mocked_api() as api:
        api.get(LIST_URL, payload=page("a", next_url=f"{LIST_URL}?page=2"), repeat=True)
        api.get(f"{LIST_URL}?page=2", payload=page("b", next_url=circle or None), repeat=True)
        if circle:
            with pytest.raises(ApiError, match="back to a page"):
                await listed(api)
        else:
            assert await listed(api) == ["a", "b"]


async def test_a_list_without_end_is_left_after_a_thousand_pages() -> None:
    pages = iter(range(10_000))

    async with client_for(BASE, FakeSlots()) as client:

        async def endless(url: URL, token: str) -> bytes:
            assert token == TOKEN
            assert url.host == "api.test"
            return orjson.dumps(page("a", next_url=f"?page={next(pages)}"))

        client._listed = endless  # type: ignore[method-assign] # a thousand mocked answers would take seconds
        with pytest.raises(ApiError, match="did not end"):
            await client.published_messages(token=TOKEN)
    assert next(pages) == PAGES_LIMIT


async def test_a_401_is_an_error_of_its_own_that_carries_the_token_in_no_text() -> None:
    time = FakeTime()
    with mocked_api() as api:
        api.get(LIST_URL, status=401, body=error_body("expired"))
        with pytest.raises(TokenRejected) as caught:
            await listed(api, time=time)
    assert caught.value.token == TOKEN
    assert "S3CR3T" not in str(caught.value) + repr(caught.value)
    assert isinstance(caught.value, TokenRefusedError)
    assert time.slept == []


TRANSIENT: list[dict[str, Any]] = [
    {"status": 429},
    {"status": 400, "body": error_body("Too many concurrent requests")},
    {"status": 500},
    {"status": 503},
    {"status": 408},
    {"exception": TimeoutError()},
    {"exception": aiohttp.ServerDisconnectedError()},
    {"exception": aiohttp.ConnectionTimeoutError()},
    {"status": 200, "body": b"?", "headers": {"Content-Encoding": "br"}},
]


@pytest.mark.parametrize("trouble", TRANSIENT, ids=str)
async def test_what_may_pass_is_tried_again_with_backoff(trouble: dict[str, Any]) -> None:
    time = FakeTime()
    with mocked_api() as api, capture_logs() as logs:
        api.get(LIST_URL, **trouble)
        api.get(LIST_URL, **trouble)
        api.get(LIST_URL, payload=page("a"))
        assert await listed(api, time=time) == ["a"]
    assert time.slept == [1.0, 2.0]
    assert [log["event"] for log in logs] == ["published_messages_failed"] * 2
    assert "S3CR3T" not in str(logs)


async def test_what_keeps_failing_is_an_error_with_the_reason() -> None:
    time = FakeTime()
    with mocked_api() as api:
        api.get(LIST_URL, status=503, body=b"<h1>Down for maintenance</h1>", repeat=True)
        with pytest.raises(ApiError, match="HTTP 503: Down for maintenance") as caught:
            await listed(api, time=time)
    assert len(time.slept) == 2
    assert caught.value.exit_code is ExitCode.STOPPED_EARLY


async def test_retry_after_is_waited_for_and_a_long_one_is_not() -> None:
    time = FakeTime()
    with mocked_api() as api:
        api.get(LIST_URL, status=429, headers={"Retry-After": "45"})
        api.get(LIST_URL, status=429, headers={"Retry-After": "61"})
        with pytest.raises(ApiError):
            await listed(api, time=time)
    assert time.slept == [45.0]


@pytest.mark.parametrize("status", [400, 403, 404, 302])
async def test_a_refusal_is_not_tried_again(status: int) -> None:
    time = FakeTime()
    with mocked_api() as api:
        api.get(LIST_URL, status=status, body=b"no")
        with pytest.raises(ApiError, match=f"HTTP {status}"):
            await listed(api, time=time)
    assert time.slept == []


async def test_a_cancelled_list_is_cancelled_and_not_tried_again() -> None:
    begun = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    slots = FakeSlots()
    with mocked_api() as api:
        api.get(LIST_URL, callback=never)
        task = asyncio.create_task(listed(api, slots))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (slots.taken, slots.in_use) == (1, 0)


def test_an_entry_is_read_with_whatever_it_has() -> None:
    entries = [
        {
            "id": "0A5C0000-0000-4000-8000-000000000001",
            "name": "Spring sale",
            "campaignName": None,
            "contactSourceId": 9007199254740993,
            "programIds": "1,2",
        },
        {"id": "b", "programIds": [3, 4], "contactSourceId": True, "new": {}},
        {"name": "no id"},
        "no entry",
        {"id": ""},
    ]
    assert page_of(orjson.dumps({"data": entries})).messages == [
        PublishedMessage(
            id="0a5c0000-0000-4000-8000-000000000001",
            name="Spring sale",
            contact_source_id="9007199254740993",
            program_ids="1,2",
        ),
        PublishedMessage(id="b", program_ids="3,4"),
    ]


@pytest.mark.parametrize(
    "document",
    [
        {"meta": {}, "data": [{"id": "a"}]},
        {"data": {"publishedMessages": [{"id": "a"}], "count": 1}},
        {"data": {"data": [{"id": "a"}]}},
        {"publishedMessages": [{"id": "a"}]},
        [{"id": "a"}],
    ],
)
def test_the_list_is_found_where_it_may_stand(document: Any) -> None:
    assert [message.id for message in page_of(orjson.dumps(document)).messages] == ["a"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"<html>login</html>", b'{"data":null}', b'{"a":[],"b":[]}', b'{"data":' * 9 + b"[]" + b"}" * 9],
)
def test_an_answer_without_a_list_is_an_error_and_not_an_empty_list(body: bytes) -> None:
    with pytest.raises(ApiError, match="no list"):
        page_of(body)


@pytest.mark.parametrize("next_url", [None, "", " ", 7, []])
def test_a_next_page_that_is_no_address_is_the_end(next_url: object) -> None:
    assert page_of(orjson.dumps({"meta": {"nextPageUrl": next_url}, "data": []})).next_url is None
