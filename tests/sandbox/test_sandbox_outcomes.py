"""The documented table of outcomes, over HTTP."""

import io

import pytest
from sandbox.sandbox_client import SENDS, quick, serving

from runner.model import Scenario
from runner.sandbox.catalogue import message_id
from runner.sandbox.sends import REHEARSABLE


async def test_success_has_the_documented_body_and_ids_count_up() -> None:
    async with serving() as api:
        first = await api.send("one", contactSourceId=2**63 - 1, scheduledDate="2030-01-01T00:00:00.000+00:00")
        second = await api.send("two", to=message_id(2))
    assert first.status == second.status == 201
    assert set(first.json) == {"meta", "data"}
    assert first.json["meta"] == {
        "attributes": {},
        "generalErrors": [],
        "fieldErrors": {},
        "links": [],
        "nextPageUrl": None,
    }
    assert first.json["data"] == {"location": SENDS.format(id=message_id(1)) + "/4396816", "id": 4396816}
    assert second.json["data"]["id"] == 4396817


async def test_what_was_accepted_can_be_asked_for_as_received() -> None:
    async with serving(clock=lambda: 1_000_000_000.25) as api:
        await api.send(" Größe 🎉 ", contactSourceId=9_007_199_254_740_993)
        reply = await api.ask("GET", "/sandbox/accepted")
        assert (
            api.sandbox.accepted()[0].body
            == b'{"messageName": " Gr\\u00f6\\u00dfe \\ud83c\\udf89 ", "contactSourceId": 9007199254740993}'
        )
    assert reply.json == [
        {
            "messageName": " Größe 🎉 ",
            "id": 4396816,
            "publishedMessageId": message_id(1),
            "body": {"messageName": " Größe 🎉 ", "contactSourceId": 9_007_199_254_740_993},
            "at": "2001-09-09T01:46:40.250+00:00",
            "count": 1,
        }
    ]


REFUSALS = [
    (Scenario.CONTACT_SOURCE_NOT_SMS_ENABLED, 400, "Contact source is not enabled for SMS."),
    (Scenario.USER_NOT_SMS_ENABLED, 403, "Forbidden"),
    (Scenario.CONTACT_SOURCE_NOT_FOUND, 400, "Contact source ID does not exist."),
    (Scenario.CONTACT_SOURCE_ACCESS_DENIED, 400, "Contact source access denied"),
    (
        Scenario.PUBLISHED_MESSAGE_NOT_FOUND,
        400,
        f"Unable to find published DeliveryDraft with contentId {message_id(1)}",
    ),
    (Scenario.PUBLISHED_MESSAGE_NOT_IN_ORG, 403, "Forbidden"),
    (Scenario.INVALID_MESSAGE_NAME, 400, "Invalid message name"),
    (Scenario.MESSAGE_NAME_NOT_UNIQUE, 400, "A SMS with the name: {Sale} already exists"),
    (Scenario.EXTERNAL_SYSTEM_NAME_TOO_LONG, 400, "Length of External System Name cannot exceed 2000 characters."),
    (
        Scenario.EXTERNAL_SYSTEM_REFERENCE_ID_TOO_LONG,
        400,
        "Length of External System RefrenceId cannot exceed 2000 characters.",
    ),
    (Scenario.FORBIDDEN, 403, "Forbidden"),
    (Scenario.SERVER_ERROR, 500, "Internal Server Error"),
    (Scenario.UNRECOGNIZED, 409, "The sandbox was asked for an outcome that no table documents."),
]


@pytest.mark.parametrize(("scenario", "status", "message"), REFUSALS)
async def test_a_job_that_asks_for_a_refusal_gets_it_each_time(scenario: Scenario, status: int, message: str) -> None:
    async with serving() as api:
        for _ in range(2):
            reply = await api.send("{Sale}", externalSystemReferenceId=f"sandbox:{scenario}")
            assert (reply.status, reply.message) == (status, message)
        assert api.names() == []


async def test_every_scenario_but_the_one_before_any_request_can_be_rehearsed() -> None:
    assert set(Scenario) - REHEARSABLE == {Scenario.CONNECTION_FAILED}


@pytest.mark.parametrize("name", ["connection_failed", "no_such_thing", ""])
async def test_a_scenario_that_cannot_be_played_is_refused_and_not_sent(name: str) -> None:
    async with serving() as api:
        reply = await api.send(externalSystemReferenceId=f"sandbox:{name}")
        assert (reply.status, api.names()) == (400, [])
        assert "contact_source_not_found" in reply.message


async def test_rehearsed_faults_are_played_once_for_a_name_so_that_a_retry_ends_them() -> None:
    async with serving() as api:
        throttled = [await api.send("t", externalSystemReferenceId="sandbox:throttled") for _ in range(3)]
        assert [reply.status for reply in throttled] == [429, 201, 400]
        garbled = [await api.send("g", externalSystemReferenceId="sandbox:unreadable_response") for _ in range(2)]
        assert [reply.status for reply in garbled] == [201, 400]
        with pytest.raises(UnicodeDecodeError):
            garbled[0].body.decode()
        assert garbled[1].message == "A SMS with the name: g already exists"
        refused = await api.send("u", externalSystemReferenceId="sandbox:unauthorized")
        still_refused = await api.send("u")
        await api.log_in()
        assert [refused.status, still_refused.status, (await api.send("u")).status] == [401, 401, 201]


async def test_no_id_in_the_path_is_row_5() -> None:
    async with serving() as api:
        reply = await api.send(to="")
        by_directive = await api.send(externalSystemReferenceId="sandbox:published_message_id_missing")
    assert reply.status == by_directive.status == 404
    assert reply.json["meta"]["generalErrors"] == []


@pytest.mark.parametrize("name", [" padded ", "<b>&;'\"\\/", "NA", "null", "\t", "é", "e\u0301", "\u200b", "名前 🎈"])
async def test_names_with_odd_characters_and_outer_spaces_are_accepted(name: str) -> None:
    async with serving() as api:
        assert (await api.send(name)).status == 201
        assert api.names() == [name]


async def test_names_are_unique_byte_for_byte() -> None:
    async with serving() as api:
        for name in ("Sale", "sale", "Sale ", " Sale", "\u00e9", "e\u0301"):
            assert (await api.send(name)).status == 201
        again = await api.send("Sale", to=message_id(2), contactSourceId=5)
        assert (again.status, again.message) == (400, "A SMS with the name: Sale already exists")
        assert api.names().count("Sale") == 1


async def test_a_refused_job_does_not_use_up_its_name() -> None:
    async with serving() as api:
        assert (await api.send("Sale", contactSourceId="x")).status == 400
        assert (await api.send("Sale", externalSystemReferenceId="sandbox:forbidden")).status == 403
        assert (await api.send("Sale")).status == 201


async def test_any_uuid_can_be_sent_in_either_case() -> None:
    async with serving() as api:
        assert (await api.send("a", to="DEADBEEF-0000-4000-8000-00000000000f")).status == 201
        assert (await api.send("b", to="not%20a%20uuid")).message.endswith("contentId not a uuid")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", SENDS.format(id=message_id(1)), 405),
        ("POST", "/rest/channels/sms/publishedmessages", 405),
        ("GET", "/oauth/token", 405),
        ("POST", "/rest/channels/push/publishedmessages/x/sendjobs", 404),
        ("GET", "/", 404),
        ("GET", "/sandbox/reset", 405),
    ],
)
async def test_what_the_api_does_not_have_is_no_success(method: str, path: str, status: int) -> None:
    async with serving() as api:
        assert (await api.ask(method, path)).status == status


async def test_a_body_over_the_bound_is_refused() -> None:
    async with serving() as api:
        body = io.BytesIO(b'{"messageName": "' + b"x" * 2_000_000 + b'"}')
        assert (await api.ask("POST", SENDS.format(id=message_id(1)), data=body)).status == 413
        await api.quiet()


async def test_reset_forgets_everything() -> None:
    async with serving(quick("500_before@2")) as api:
        await api.send("one")
        assert (await api.ask("POST", "/sandbox/reset")).status == 200
        assert (await api.send("one")).status == 401
        await api.log_in()
        assert [(await api.send("one")).status, (await api.send("two")).status] == [500, 201]
        assert api.sandbox.accepted()[0].id == 4396816
        assert api.sandbox.stats().requests["sendjobs"] == 3


async def test_stats_tell_what_was_seen() -> None:
    async with serving(quick("500_before@1")) as api:
        await api.send("one")
        await api.send("two")
        stats = (await api.ask("GET", "/sandbox/stats")).json
    assert stats == {
        "requests": {"sendjobs": 2, "publishedmessages": 0, "token": 1, "other": 0},
        "running": 0,
        "max_concurrent": 1,
        "refused": 0,
        "given_up": 0,
        "token_grants": 1,
        "faults": {"500_before": 1},
        "accepted": 1,
        "accepted_twice": 0,
    }
