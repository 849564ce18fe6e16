"""Headers: what counts as an attribute, what stops the file, and how an operator says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from jobs.job_checking import MESSAGE, opened, run

from runner.errors import ConfigurationError, JobFileError
from runner.jobs.headers import match
from runner.model import ATTRIBUTES

REQUIRED = ["publishedMessageId", "messageName"]


def attributes(*headers: str, **columns: str) -> dict[str, str]:
    return match([*REQUIRED, *headers], columns=columns, defaults={}).attributes


@pytest.mark.parametrize("name", [name for name in ATTRIBUTES if name not in REQUIRED])
def test_case_spaces_underscores_and_hyphens_do_not_matter(name: str) -> None:
    words = "".join("_" + mark.lower() if mark.isupper() else mark for mark in name)
    for header in (name, words, words.replace("_", " ").upper(), words.replace("_", "-").title(), f" {name} "):
        assert attributes(header)[name] == header


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("schedulDate", "scheduledDate"),
        ("scheduldeDate", "scheduledDate"),
        ("schedule date", "scheduledDate"),
        ("schedule", "scheduledDate"),
        ("scheduledDate UTC", "scheduledDate"),
        ("scheduledDates", "scheduledDate"),
        ("contactSource", "contactSourceId"),
        ("contact source", "contactSourceId"),
        ("contactSourcId", "contactSourceId"),
        ("preBlockingHour", "preBlockingHours"),
        ("externalSystmName", "externalSystemName"),
        ("externalSystemReference", "externalSystemReferenceId"),
        ("folders", "folder"),
        ("fodler", "folder"),
        ("messageNames", "messageName"),
        ("publishedMessage", "publishedMessageId"),
    ],
)
def test_a_header_close_to_an_attribute_stops_the_file(header: str, name: str) -> None:
    with pytest.raises(JobFileError, match=f"is close to {name}") as caught:
        attributes(header)
    assert "[columns]" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    "header", ["store", "owner", "order", "message", "name", "date", "status", "row", "id", "note"]
)
def test_ordinary_headers_are_other_columns(header: str) -> None:
    assert set(attributes(header)) == set(REQUIRED)


def test_a_mapped_header_is_the_attribute_whatever_it_looks_like(tmp_path: Path) -> None:
    text = f"publishedMessageId,messageName,Store list\n{MESSAGE},a,77\n"
    check = opened(tmp_path, text, columns={"Store list": "contactSourceId", "not there": "folder"})
    assert check.attributes["contactSourceId"] == "Store list"
    assert check.other_columns == ()
    assert [chunk.contact_source_id for chunk in check.chunks()] == [[77]]
    problem = run(tmp_path, text.replace("77", "x"), columns={"Store list": "contactSourceId"}).problems[0]
    assert problem.column == "Store list"


def test_a_close_header_may_be_said_to_be_an_ordinary_one(tmp_path: Path) -> None:
    text = f"publishedMessageId,messageName,contact source name,folder\n{MESSAGE},a,Berlin,f\n"
    check = opened(tmp_path, text, columns={"contact source name": "", "folder": ""})
    assert check.other_columns == ("contact source name", "folder")


def test_a_mapped_and_a_natural_header_for_one_attribute_are_one_too_many() -> None:
    with pytest.raises(JobFileError, match="both stand for folder"):
        attributes("folder", "place", place="folder")


def test_a_mapping_to_no_attribute_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="colour"):
        opened(tmp_path, f"publishedMessageId,messageName\n{MESSAGE},a\n", columns={"x": "colour"})


def test_the_face_of_a_checked_file(tmp_path: Path) -> None:
    check = opened(tmp_path, f"store,Message Name,published_message_id,owner\nx,a,{MESSAGE},y\n")
    assert check.kind == "csv"
    assert check.headers == ("store", "Message Name", "published_message_id", "owner")
    assert check.other_columns == ("store", "owner")
    assert check.attributes == {"messageName": "Message Name", "publishedMessageId": "published_message_id"}
