"""Everything that can be wrong with a row, in one place: the stable codes, and what is said to the operator.

The people who read these sentences run campaigns and work in spreadsheets. So each code has a rule (what is asked,
and why where that is not plain) and a remedy (what to do in the file or on the command line), and the documentation
is tested against this one table. A value is shown as it was read, cut at `VALUE_LIMIT` characters, because a cell
may hold a whole novel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from runner.model import EXTERNAL_FIELD_LIMIT, INT32_MAX, INT64_MAX, Problem, Scenario

VALUE_LIMIT: Final = 200
"""Characters of a cell that a `Problem` shows."""

CELL_LIMIT: Final = 32_767
"""Characters a spreadsheet can hold in one cell; a longer cell is a broken export, not a value."""


class ProblemCode(StrEnum):
    """The stable name of each rule a row can break."""

    TOO_FEW_CELLS = "too_few_cells"
    TOO_MANY_CELLS = "too_many_cells"
    BLANK_ROW = "blank_row"
    BLANK_REQUIRED = "blank_required"
    NAME_ONLY_SPACES = "name_only_spaces"
    NAME_TWICE_IN_FILE = "name_twice_in_file"
    NUL_CHARACTER = "nul_character"
    NOT_UNICODE = "not_unicode"
    CELL_TOO_LONG = "cell_too_long"
    TEXT_TOO_LONG = "text_too_long"
    NOT_A_UUID = "not_a_uuid"
    NUMBER_SCIENTIFIC = "number_scientific"
    NUMBER_FRACTION = "number_fraction"
    NUMBER_SEPARATORS = "number_separators"
    NUMBER_SPACES = "number_spaces"
    NOT_A_NUMBER = "not_a_number"
    CONTACT_SOURCE_OUT_OF_RANGE = "contact_source_out_of_range"
    HOURS_OUT_OF_RANGE = "hours_out_of_range"
    DATE_WITHOUT_TIME = "date_without_time"
    DATE_WITHOUT_OFFSET = "date_without_offset"
    DATE_FORMAT = "date_format"
    DATE_IMPOSSIBLE = "date_impossible"
    DATE_TOO_PRECISE = "date_too_precise"
    LOCAL_TIME_SKIPPED = "local_time_skipped"
    LOCAL_TIME_TWICE = "local_time_twice"
    DATE_IN_PAST = "date_in_past"
    BLANK_CONTACT_SOURCE = "blank_contact_source"
    AUDIENCE_TWICE_IN_FILE = "audience_twice_in_file"


GUARDS: Final = frozenset(
    {ProblemCode.DATE_IN_PAST, ProblemCode.BLANK_CONTACT_SOURCE, ProblemCode.AUDIENCE_TWICE_IN_FILE}
)
"""Codes of rows the API would accept but nobody is likely to want; each can be allowed by the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """What is said about one code; `{…}` are filled in by `problem`."""

    rule: str
    remedy: str


_DATE_EXAMPLE = "2031-05-01T09:00:00.000+02:00"

WORDINGS: Final[dict[ProblemCode, Wording]] = {
    ProblemCode.TOO_FEW_CELLS: Wording(
        rule="This row has {found} cells, the header has {expected}.",
        remedy="Give the row the missing cells (they may be empty), or join it with the line it was torn from.",
    ),
    ProblemCode.TOO_MANY_CELLS: Wording(
        rule="This row has {found} cells, the header has {expected}.",
        remedy='Put a text that holds the delimiter between double quotes ("Smith, Jones"), or remove the extra cells.',
    ),
    ProblemCode.BLANK_ROW: Wording(
        rule="Every cell of this row is empty.",
        remedy="Delete the row if it is a leftover, or fill it in.",
    ),
    ProblemCode.BLANK_REQUIRED: Wording(
        rule="{attribute} is required in every row.",
        remedy="Fill the cell in, or delete the row.",
    ),
    ProblemCode.NAME_ONLY_SPACES: Wording(
        rule="A messageName must not consist of spaces only; the API refuses it.",
        remedy="Give the message a name.",
    ),
    ProblemCode.NAME_TWICE_IN_FILE: Wording(
        rule="A messageName must be unique; row {first} of this file has the same one.",
        remedy="Give one of the two rows another name, or delete one of them.",
    ),
    ProblemCode.NUL_CHARACTER: Wording(
        rule="The cell holds a NUL character, which no text has.",
        remedy="Export the file again as CSV UTF-8; the file may be damaged, or in another encoding.",
    ),
    ProblemCode.NOT_UNICODE: Wording(
        rule="The text holds half of a character (a lone surrogate) and cannot be sent.",
        remedy="Read the text with its right encoding before making a job of it.",
    ),
    ProblemCode.CELL_TOO_LONG: Wording(
        rule=f"A cell must not have more than {CELL_LIMIT:,} characters (a spreadsheet's limit).",
        remedy="Shorten the cell; a missing closing quote may have swallowed what follows.",
    ),
    ProblemCode.TEXT_TOO_LONG: Wording(
        rule=f"{{attribute}} must not have more than {EXTERNAL_FIELD_LIMIT:,} characters.",
        remedy="Shorten the text.",
    ),
    ProblemCode.NOT_A_UUID: Wording(
        rule="A publishedMessageId is 32 hexadecimal digits in the groups 8-4-4-4-12, with nothing around them.",
        remedy="Copy the Content ID of the published message, for example 0a5c0000-0000-4000-8000-000000000001.",
    ),
    ProblemCode.NUMBER_SCIENTIFIC: Wording(
        rule="{attribute} is in scientific notation, so digits of it may be lost already.",
        remedy="Format the column as text or as a number without decimals, enter the number again, and save again.",
    ),
    ProblemCode.NUMBER_FRACTION: Wording(
        rule="{attribute} is a whole number, without a decimal point.",
        remedy="Format the column as a number without decimals, and save again.",
    ),
    ProblemCode.NUMBER_SEPARATORS: Wording(
        rule="{attribute} is written in digits only, without thousands separators.",
        remedy="Format the column as a number without separators, and save again.",
    ),
    ProblemCode.NUMBER_SPACES: Wording(
        rule="{attribute} is written in digits only; there are spaces around this one.",
        remedy="Remove the spaces.",
    ),
    ProblemCode.NOT_A_NUMBER: Wording(
        rule="{attribute} is written in the digits 0 to 9 only.",
        remedy="Enter the number, or leave the cell empty.",
    ),
    ProblemCode.CONTACT_SOURCE_OUT_OF_RANGE: Wording(
        rule=f"A contactSourceId lies between 1 and {INT64_MAX}.",
        remedy="Copy the ID of the database, query or contact list again.",
    ),
    ProblemCode.HOURS_OUT_OF_RANGE: Wording(
        rule=f"preBlockingHours lies between 0 and {INT32_MAX}.",
        remedy="Enter a number of hours in that range, or leave the cell empty.",
    ),
    ProblemCode.DATE_WITHOUT_TIME: Wording(
        rule="A scheduledDate needs a time of day and an offset from UTC.",
        remedy=f"Write it like {_DATE_EXAMPLE}.",
    ),
    ProblemCode.DATE_WITHOUT_OFFSET: Wording(
        rule="A scheduledDate needs its offset from UTC; without it nobody knows which hour is meant.",
        remedy=f"Write it like {_DATE_EXAMPLE}, or set `timezone` in the configuration.",
    ),
    ProblemCode.DATE_FORMAT: Wording(
        rule="A scheduledDate is written as RFC 3339 has it: year-month-day, T or a space, time, offset.",
        remedy=f"Write it like {_DATE_EXAMPLE}.",
    ),
    ProblemCode.DATE_IMPOSSIBLE: Wording(
        rule="This date, time or offset does not exist (offsets run from -14:00 to +14:00).",
        remedy=f"Correct the date; it is written like {_DATE_EXAMPLE}.",
    ),
    ProblemCode.DATE_TOO_PRECISE: Wording(
        rule="A scheduledDate is exact to the millisecond; more digits would be lost.",
        remedy="Round the seconds to three decimals at most.",
    ),
    ProblemCode.LOCAL_TIME_SKIPPED: Wording(
        rule="The clocks of {timezone} are put forward over this hour: it does not exist that day.",
        remedy="Choose another hour, or write the offset from UTC beside the time.",
    ),
    ProblemCode.LOCAL_TIME_TWICE: Wording(
        rule="The clocks of {timezone} are put back over this hour: it happens twice that day.",
        remedy="Say which of the two is meant by writing the offset from UTC beside the time.",
    ),
    ProblemCode.DATE_IN_PAST: Wording(
        rule="This scheduledDate has passed.",
        remedy="Correct the date, leave the cell empty to send at once, or allow past dates by --allow-past-date.",
    ),
    ProblemCode.BLANK_CONTACT_SOURCE: Wording(
        rule="Without a contactSourceId the message goes to its default audience, though this file has that column.",
        remedy="Fill the cell in, or allow it with --allow-default-audience.",
    ),
    ProblemCode.AUDIENCE_TWICE_IN_FILE: Wording(
        rule="Row {first} sends the same message to the same contact source at the same time, under another name.",
        remedy="Delete one of the two rows, or allow it with --allow-repeat-audience.",
    ),
}

_SCENARIOS: Final[dict[tuple[ProblemCode, str], Scenario]] = {
    (ProblemCode.BLANK_REQUIRED, "publishedMessageId"): Scenario.PUBLISHED_MESSAGE_ID_MISSING,
    (ProblemCode.NAME_ONLY_SPACES, "messageName"): Scenario.INVALID_MESSAGE_NAME,
    (ProblemCode.NAME_TWICE_IN_FILE, "messageName"): Scenario.MESSAGE_NAME_NOT_UNIQUE,
    (ProblemCode.TEXT_TOO_LONG, "externalSystemName"): Scenario.EXTERNAL_SYSTEM_NAME_TOO_LONG,
    (ProblemCode.TEXT_TOO_LONG, "externalSystemReferenceId"): Scenario.EXTERNAL_SYSTEM_REFERENCE_ID_TOO_LONG,
}


def problem(
    code: ProblemCode,
    *,
    row: int | None,
    column: str | None = None,
    value: str | None = None,
    attribute: str = "",
    **details: object,
) -> Problem:
    """The `Problem` for `code`; `attribute` and `details` fill in its wording, `value` is cut at `VALUE_LIMIT`."""
    wording = WORDINGS[code]
    return Problem(
        row=row,
        column=column,
        value=None if value is None else value[:VALUE_LIMIT],
        rule=wording.rule.format(attribute=attribute, **details),
        remedy=wording.remedy.format(attribute=attribute, **details),
        code=code.value,
        scenario=_SCENARIOS.get((code, attribute)),
    )
