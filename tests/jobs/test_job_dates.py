"""scheduledDate: what is read, how it is written, and which guards watch over it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobs.job_checking import MESSAGE, NOW, one_cell, run

from runner.jobs import dates
from runner.jobs.dates import Instant
from runner.jobs.faults import ProblemCode

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2031-05-04T09:00:00.000+02:00", "2031-05-04T09:00:00.000+02:00"),
        ("2031-05-04T09:00:00Z", "2031-05-04T09:00:00.000+00:00"),
        ("2031-05-04 09:00:00z", "2031-05-04T09:00:00.000+00:00"),
        ("2031-05-04t09:00:00.5-03:30", "2031-05-04T09:00:00.500-03:30"),
        ("2031-05-04T09:00:00.123000000Z", "2031-05-04T09:00:00.123+00:00"),
        ("2031-05-04T09:00+14:00", "2031-05-04T09:00:00.000+14:00"),
        ("2031-05-04T09:00:00-00:00", "2031-05-04T09:00:00.000+00:00"),
        ("2032-02-29T23:59:59.999+02:00", "2032-02-29T23:59:59.999+02:00"),
    ],
)
def test_a_date_is_written_as_documented_with_its_own_offset(tmp_path: Path, text: str, written: str) -> None:
    (job,) = one_cell(tmp_path, "scheduledDate", text).jobs
    assert job.scheduled_date == written


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2031-05-04", "date_without_time"),
        ("04.05.2031", "date_without_time"),
        ("5/4/2031", "date_without_time"),
        ("2031-05-04T09:00:00", "date_without_offset"),
        ("tomorrow", "date_format"),
        ("2031-05-04T09:00:00+0200", "date_format"),
        ("2031-05-04T09:00:00,5Z", "date_format"),
        (" 2031-05-04T09:00:00Z", "date_format"),
        ("2031-05-04T09:00:00.1234567891Z", "date_format"),
        ("٢031-05-04T09:00:00Z", "date_format"),
        ("2031-02-29T09:00:00Z", "date_impossible"),
        ("2031-13-01T09:00:00Z", "date_impossible"),
        ("2031-05-04T24:00:00Z", "date_impossible"),
        ("2031-05-04T09:00:60Z", "date_impossible"),
        ("2031-05-04T09:00:00+20:00", "date_impossible"),
        ("2031-05-04T09:00:00+02:60", "date_impossible"),
        ("0000-05-04T09:00:00Z", "date_impossible"),
        ("2031-05-04T09:00:00.0001Z", "date_too_precise"),
    ],
)
def test_a_date_that_cannot_be_taken_says_why(tmp_path: Path, text: str, code: str) -> None:
    checked = one_cell(tmp_path, "scheduledDate", text)
    assert checked.codes == [(2, "scheduledDate", code)]
    assert checked.problems[0].value == text


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("2031-01-04T09:00:00", "2031-01-04T09:00:00.000+01:00"),
        ("2031-07-04 09:00", "2031-07-04T09:00:00.000+02:00"),
        ("2031-07-04T09:00:00Z", "2031-07-04T09:00:00.000+00:00"),
        ("2031-03-30T01:59:59.999", "2031-03-30T01:59:59.999+01:00"),
        ("2031-03-30T02:00:00", "local_time_skipped"),
        ("2031-03-30T02:59:59", "local_time_skipped"),
        ("2031-03-30T03:00:00", "2031-03-30T03:00:00.000+02:00"),
        ("2031-10-26T01:59:59", "2031-10-26T01:59:59.000+02:00"),
        ("2031-10-26T02:00:00", "local_time_twice"),
        ("2031-10-26T02:59:59", "local_time_twice"),
        ("2031-10-26T02:30:00+02:00", "2031-10-26T02:30:00.000+02:00"),
        ("2031-10-26T03:00:00", "2031-10-26T03:00:00.000+01:00"),
    ],
)
def test_without_an_offset_the_configured_zone_decides_unless_the_clocks_change(
    tmp_path: Path, text: str, outcome: str
) -> None:
    checked = one_cell(tmp_path, "scheduledDate", text, timezone=BERLIN)
    found = [job.scheduled_date for job in checked.jobs] + [problem.code for problem in checked.problems]
    assert found == [outcome]
    assert all("Europe/Berlin" in problem.rule for problem in checked.problems)


def test_a_local_mean_time_of_long_ago_is_written_in_utc() -> None:
    """RFC 3339 has no seconds in an offset; Berlin was 53 minutes and 28 seconds ahead."""
    assert dates.parse("1890-01-01T00:53:28", BERLIN) == Instant(
        text="1890-01-01T00:00:00.000+00:00", at_ms=-2_524_521_600_000
    )
    assert dates.parse("0001-01-01T00:00:00", BERLIN) is ProblemCode.DATE_IMPOSSIBLE


def test_the_past_begins_before_now(tmp_path: Path) -> None:
    """Exactly now is not past, a millisecond before is, whatever offset it is written with."""
    for shift, past in ((0, False), (-1, True)):
        instant = (NOW + timedelta(milliseconds=shift)).astimezone(BERLIN).isoformat(timespec="milliseconds")
        checked = one_cell(tmp_path, "scheduledDate", instant)
        assert checked.codes == ([(2, "scheduledDate", "date_in_past")] if past else [])
        assert one_cell(tmp_path, "scheduledDate", instant, allow_past_date=True).codes == []


def test_a_default_in_the_past_is_found_too(tmp_path: Path) -> None:
    checked = run(
        tmp_path, f"publishedMessageId,messageName\n{MESSAGE},a\n", defaults={"scheduledDate": "2001-01-01T00:00:00Z"}
    )
    assert checked.codes == [(2, "scheduledDate", "date_in_past")]


DATES = st.one_of(
    st.datetimes(timezones=st.timezones()).map(lambda value: value.isoformat()),
    st.datetimes().map(lambda value: value.isoformat(sep=" ", timespec="milliseconds") + "Z"),
    st.from_regex(
        r"[0-2][0-9]{3}-[0-9]{2}-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{3})?"
        r"([Zz]|[+-][0-2][0-9]:[0-6][0-9])",
        fullmatch=True,
    ),
    st.from_regex(r"20[0-9]{2}-0[0-9]-[0-3][0-9]T0[0-9]:[0-9]{2}:00[+-]0[0-9]:[03]0", fullmatch=True),
    st.text(alphabet="0123456789-:TZ.+ é", max_size=29),
)


@given(texts=st.lists(DATES, min_size=1, max_size=8, unique=True))
@settings(max_examples=100, deadline=None)
def test_a_column_is_read_as_its_cells_are(texts: list[str]) -> None:
    """The fast reading of a column gives what `parse` gives for each cell; and `parse` agrees with datetime."""
    read = dates.read(pa.array(["padding", *texts], pa.string()).slice(1), BERLIN)
    for place, text in enumerate(texts):
        expected = dates.parse(text, BERLIN)
        if isinstance(expected, ProblemCode):
            assert read.faults[place] is expected
            continue
        assert place not in read.faults
        assert (read.text[place].as_py(), int(read.at_ms[place])) == (expected.text, expected.at_ms)
        wall, offset = expected.text[:23], expected.text[23:]
        sign = -1 if offset[0] == "-" else 1
        ahead = sign * timedelta(hours=int(offset[1:3]), minutes=int(offset[4:]))
        since = datetime.fromisoformat(wall + "+00:00") - datetime(1970, 1, 1, tzinfo=UTC) - ahead
        assert since // timedelta(milliseconds=1) == expected.at_ms
