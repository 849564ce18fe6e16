"""The rules for cells: what each attribute takes, and that the gate of a column says what the rule of a cell says."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jobs.job_checking import MESSAGE, one_cell, run

from runner.errors import ConfigurationError
from runner.jobs import values
from runner.jobs.faults import CELL_LIMIT, VALUE_LIMIT, WORDINGS, ProblemCode
from runner.model import ATTRIBUTES, EXTERNAL_FIELD_LIMIT, INT32_MAX, INT64_MAX, Scenario

NUMBERS = ("contactSourceId", "preBlockingHours")

TEXTS = st.one_of(
    st.text(max_size=8),
    st.text(alphabet="0123456789.,eE+- \u00a0'_", max_size=22),
    st.integers(-10, 2**70).map(str),
    st.sampled_from([str(INT64_MAX), str(INT64_MAX + 1), str(INT32_MAX), str(INT32_MAX + 1), "0" * 30 + "7", "0"]),
    st.uuids().map(str),
    st.uuids().map(lambda value: str(value).replace("-", "")),
    st.text(alphabet=" \t\u2003\u00a0\x1c\x85\u200b", max_size=4),
    st.sampled_from(["x" * (EXTERNAL_FIELD_LIMIT + 1), "é" * EXTERNAL_FIELD_LIMIT, "é" * CELL_LIMIT, "é" * 32_768]),
)


@given(attribute=st.sampled_from(list(ATTRIBUTES)), cells=st.lists(TEXTS, max_size=6))
@example(attribute="contactSourceId", cells=["", "1", "٣", "9" * 19, "²"])
@settings(max_examples=150, deadline=None)
def test_the_gate_of_a_column_says_what_the_rule_of_a_cell_says(attribute: str, cells: list[str]) -> None:
    array = pa.array(["padding", *cells], pa.string()).slice(1)
    expected = {place: code for place, cell in enumerate(cells) if (code := values.explain(attribute, cell))}
    assert values.faults(attribute, array) == expected


def test_every_attribute_has_its_gates() -> None:
    assert list(values.GATES) == list(ATTRIBUTES)
    assert all(values.GATES.values())


@pytest.mark.parametrize(
    ("attribute", "text", "code", "scenario"),
    [
        ("messageName", "", "blank_required", None),
        ("publishedMessageId", "", "blank_required", Scenario.PUBLISHED_MESSAGE_ID_MISSING),
        ("messageName", " \t ", "name_only_spaces", Scenario.INVALID_MESSAGE_NAME),
        ("messageName", "x" * 32_768, "cell_too_long", None),
        ("folder", "x" * 32_768, "cell_too_long", None),
        ("publishedMessageId", MESSAGE + " ", "not_a_uuid", None),
        ("publishedMessageId", "{" + MESSAGE[1:-1] + "}", "not_a_uuid", None),
        ("publishedMessageId", MESSAGE.replace("-", ""), "not_a_uuid", None),
        ("contactSourceId", "4.1E+06", "number_scientific", None),
        ("contactSourceId", "1e5", "number_scientific", None),
        ("contactSourceId", "123.0", "number_fraction", None),
        ("contactSourceId", "1,234", "number_separators", None),
        ("contactSourceId", " 123", "number_spaces", None),
        ("contactSourceId", "twelve", "not_a_number", None),
        ("contactSourceId", "+5", "not_a_number", None),
        ("contactSourceId", "٣", "not_a_number", None),
        ("contactSourceId", "0", "contact_source_out_of_range", None),
        ("contactSourceId", "-1", "contact_source_out_of_range", None),
        ("contactSourceId", str(INT64_MAX + 1), "contact_source_out_of_range", None),
        ("contactSourceId", "9" * 5000, "contact_source_out_of_range", None),
        ("preBlockingHours", "-1", "hours_out_of_range", None),
        ("preBlockingHours", str(INT32_MAX + 1), "hours_out_of_range", None),
        ("preBlockingHours", "1.5", "number_fraction", None),
        ("externalSystemName", "x" * 2001, "text_too_long", Scenario.EXTERNAL_SYSTEM_NAME_TOO_LONG),
        (
            "externalSystemReferenceId",
            "é" * 2001,
            "text_too_long",
            Scenario.EXTERNAL_SYSTEM_REFERENCE_ID_TOO_LONG,
        ),
    ],
)
def test_a_cell_that_breaks_a_rule_is_told_of(
    tmp_path: Path, attribute: str, text: str, code: str, scenario: Scenario | None
) -> None:
    checked = one_cell(tmp_path, attribute, text)
    (problem,) = checked.problems
    assert (problem.row, problem.column, problem.code) == (2, attribute, code)
    assert problem.value == text[:VALUE_LIMIT]
    assert problem.scenario is scenario
    assert checked.invalid[0].cells[attribute] == text
    assert "{" not in problem.rule + problem.remedy


@pytest.mark.parametrize(
    ("attribute", "text", "expected"),
    [
        ("messageName", " x\u200b", " x\u200b"),
        ("messageName", "x" * CELL_LIMIT, "x" * CELL_LIMIT),
        ("messageName", "a\u0001b\u001f", "a\u0001b\u001f"),
        ("publishedMessageId", MESSAGE.upper(), MESSAGE),
        ("contactSourceId", str(INT64_MAX), INT64_MAX),
        ("contactSourceId", "007", 7),
        ("preBlockingHours", str(INT32_MAX), INT32_MAX),
        ("preBlockingHours", "0", 0),
        ("preBlockingHours", "", None),
        ("externalSystemName", "é" * 2000, "é" * 2000),
        ("externalSystemName", "", None),
        ("externalSystemReferenceId", " ", " "),
        ("scheduledDate", "", None),
        ("folder", "Retail/Spring", "Retail/Spring"),
    ],
)
def test_what_is_in_order_arrives(tmp_path: Path, attribute: str, text: str, expected: object) -> None:
    (job,) = one_cell(tmp_path, attribute, text).jobs
    assert getattr(job, ATTRIBUTES[attribute]) == expected


def test_one_row_may_have_several_problems(tmp_path: Path) -> None:
    head = "publishedMessageId,messageName,contactSourceId,preBlockingHours\n"
    checked = run(tmp_path, head + ",,1e5,x\n")
    assert [code for _, _, code in checked.codes] == [
        "blank_required",
        "blank_required",
        "number_scientific",
        "not_a_number",
    ]


def test_defaults_fill_blank_cells_and_missing_columns(tmp_path: Path) -> None:
    text = "messageName,externalSystemName,contactSourceId\none,,\ntwo,Mine,5\n"
    defaults = {"publishedMessageId": MESSAGE, "externalSystemName": "Theirs", "contactSourceId": "9", "folder": "F"}
    one, two = run(tmp_path, text, defaults=defaults).jobs
    assert (one.external_system_name, one.contact_source_id, one.folder) == ("Theirs", 9, "F")
    assert (two.external_system_name, two.contact_source_id, two.published_message_id) == ("Mine", 5, MESSAGE)


@pytest.mark.parametrize(
    "defaults",
    [
        {"publishedMessageId": "nonsense"},
        {"contactSourceId": "1e5"},
        {"scheduledDate": "2031-05-04T09:00:00"},
        {"messageName": "one for all"},
        {"nothing": "x"},
    ],
)
def test_a_default_that_breaks_a_rule_is_a_configuration_error(tmp_path: Path, defaults: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        one_cell(tmp_path, "folder", "x", defaults=defaults)


def test_every_code_has_its_wording() -> None:
    assert set(WORDINGS) == set(ProblemCode)
    for wording in WORDINGS.values():
        assert wording.rule.endswith(".")
        assert wording.remedy.endswith(".")
