"""Tokens and the list of published messages."""

import pytest
from sandbox.sandbox_client import CREDENTIALS, LIST, Api, quick, serving

from runner.model import PublishedMessage
from runner.sandbox.catalogue import believable

HOUR = 3600.0


class Clock:
    """Stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


async def token_works(api: Api, token: str) -> bool:
    reply = await api.ask("GET", LIST, token=token)
    return reply.status == 200


async def test_a_grant_is_as_documented() -> None:
    async with serving(log_in=False) as api:
        reply = await api.log_in()
    assert reply.status == 200
    assert {**reply.json, "access_token": ""} == {"access_token": "", "token_type": "bearer", "expires_in": 14400}


async def test_the_same_token_comes_back_for_three_hours_then_a_new_one_while_the_old_one_lives_its_last_hour() -> None:
    clock = Clock()
    async with serving(clock=clock) as api:
        first = api.token
        clock.now += 3 * HOUR - 1
        await api.log_in()
        assert api.token == first
        clock.now += 1
        await api.log_in()
        second = api.token
        assert second != first
        assert [await token_works(api, first), await token_works(api, second)] == [True, True]
        clock.now += HOUR
        assert [await token_works(api, first), await token_works(api, second)] == [False, True]
        stats = api.sandbox.stats()
        assert (stats.requests["token"], stats.token_grants) == (3, 2)


async def test_the_lifetime_can_be_set_and_the_renewal_scales_with_it() -> None:
    clock = Clock()
    async with serving(quick(token_lifetime_s=40), clock=clock, log_in=False) as api:
        assert (await api.log_in()).json["expires_in"] == 40
        first = api.token
        clock.now += 30
        await api.log_in()
        assert api.token != first
        clock.now += 10
        assert [await token_works(api, first), await token_works(api, api.token)] == [False, True]


async def test_each_credential_has_a_token_of_its_own() -> None:
    async with serving() as api:
        first = api.token
        await api.log_in(client_id="someone else")
        assert api.token != first


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"refresh_token": "wrong"}, 400, "invalid_grant"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "wrong"}, 401, "invalid_client"),
        ({"client_id": ""}, 400, "invalid_request"),
        ({"refresh_token": ""}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
async def test_wrong_credentials_are_refused(changes: dict[str, str], status: int, code: str) -> None:
    async with serving(log_in=False) as api:
        reply = await api.log_in(**changes)
        assert (reply.status, reply.json["error"]) == (status, code)
        assert api.sandbox.stats().token_grants == 0


async def test_credentials_must_come_as_a_form() -> None:
    async with serving(log_in=False) as api:
        as_json = await api.ask("POST", "/oauth/token", json=CREDENTIALS)
        broken = await api.ask(
            "POST", "/oauth/token", data=b"\xff", headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
    assert [as_json.json["error"], broken.json["error"]] == ["invalid_request", "invalid_request"]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer unknown", "Basic {token}", "{token}", "Bearer {token}x"]
)
async def test_without_a_good_token_nothing_is_processed(header: str) -> None:
    async with serving() as api:
        authorization = {"Authorization": header.format(token=api.token)}
        send = await api.ask(
            "POST", f"{LIST}/{believable(1)[0].id}/sendjobs", json={"messageName": "Sale"}, headers=authorization
        )
        listing = await api.ask("GET", LIST, headers=authorization)
        assert [send.status, listing.status, api.names()] == [401, 401, []]
        assert send.headers["WWW-Authenticate"].startswith("Bearer")


async def test_six_messages_are_published_by_default() -> None:
    async with serving() as api:
        reply = await api.ask("GET", LIST)
    ids = [entry["id"] for entry in reply.json["data"]]
    assert ids == [f"0a5c0000-0000-4000-8000-00000000000{number}" for number in range(1, 7)]
    assert reply.json["meta"]["nextPageUrl"] is None
    assert all(entry["name"] and entry["contactSourceId"].isdigit() for entry in reply.json["data"])
    assert set(reply.json["data"][0]) == {"id", "name", "campaignName", "contactSourceId", "programIds"}


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (49, [49]), (50, [50]), (51, [50, 1]), (120, [50, 50, 20])])
async def test_the_list_comes_fifty_to_a_page_and_the_next_page_is_on_the_same_host(
    count: int, sizes: list[int]
) -> None:
    published = believable(count)
    async with serving(quick(published=published)) as api:
        url, pages = api.sandbox.url + LIST, []
        while url:
            assert url.startswith(api.sandbox.url + "/")
            reply = (await api.ask("GET", url.removeprefix(api.sandbox.url))).json
            pages.append([entry["id"] for entry in reply["data"]])
            url = reply["meta"]["nextPageUrl"]
    assert [len(page) for page in pages] == sizes
    assert [entry for page in pages for entry in page] == [message.id for message in published]


async def test_what_is_published_can_be_set() -> None:
    one = PublishedMessage(id="x", name="n", campaign_name="c", contact_source_id="7", program_ids="1,2")
    async with serving(quick(published=(one,))) as api:
        reply = await api.ask("GET", LIST)
    assert reply.json["data"] == [
        {"id": "x", "name": "n", "campaignName": "c", "contactSourceId": "7", "programIds": "1,2"}
    ]


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "1.5", "٣"])
async def test_a_page_that_is_no_number_is_refused(page: str) -> None:
    async with serving() as api:
        assert (await api.ask("GET", LIST, params={"page": page})).status == 400
