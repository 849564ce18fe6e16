"""CSV files: what is read, what row it stands in, and what is refused."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobs.job_checking import MESSAGE, NOW, Checked, opened, run

from runner.errors import ConfigurationError, JobFileError
from runner.jobs.checks import CheckRules, FileCheck

HEAD = "publishedMessageId,messageName,store\n"
M = MESSAGE


def test_values_arrive_as_they_are_written(tmp_path: Path) -> None:
    names = ["NA", "null", "None", "nan", " leading", "trailing ", "1e5", "007", "a\tb", 'say "hi"', "é😀", "TRUE"]
    lines = "".join(f'{M},"{name.replace(chr(34), chr(34) * 2)}",x\n' for name in names)
    checked = run(tmp_path, HEAD + lines)
    assert checked.names == names
    assert checked.rows == list(range(2, 2 + len(names)))
    assert checked.invalid == []


def test_all_attributes_are_converted(tmp_path: Path) -> None:
    head = "messageName,publishedMessageId,contactSourceId,externalSystemName,externalSystemReferenceId,"
    row = f"A,{M.upper()},9223372036854775807,Sys,Ref,2031-05-04 09:00:00Z,0,Retail\n"
    (job,) = run(tmp_path, head + "scheduledDate,preBlockingHours,folder\n" + row).jobs
    assert job.published_message_id == M
    assert job.contact_source_id == 9223372036854775807
    assert (job.external_system_name, job.external_system_reference_id, job.folder) == ("Sys", "Ref", "Retail")
    assert job.scheduled_date == "2031-05-04T09:00:00.000+00:00"
    assert job.pre_blocking_hours == 0


def test_rows_are_numbered_as_a_spreadsheet_shows_them(tmp_path: Path) -> None:
    """Blank lines count, quoted line breaks do not, ragged rows upset nothing."""
    text = HEAD + f'{M},one,x\n\n\n{M},"two\nlines",x\n{M},short\n{M},long,x,y,z\r\n{M},"5"" pipe",x\n{M},last,x'
    checked = run(tmp_path, text)
    assert checked.names == ["one", "two\nlines", '5" pipe', "last"]
    assert checked.rows == [2, 5, 8, 9]
    assert checked.codes == [(6, None, "too_few_cells"), (7, None, "too_many_cells")]
    assert checked.invalid[0].cells == {"publishedMessageId": M, "messageName": "short"}
    assert checked.invalid[1].cells == {"publishedMessageId": M, "messageName": "long", "store": "x", "": "y,z"}
    assert "5 cells" in checked.problems[1].rule
    assert "has 3" in checked.problems[1].rule
    assert checked.check.rows == 6


def test_chunks_are_consecutive_and_of_the_asked_size(tmp_path: Path) -> None:
    lines = "".join(f"{M},n{i},x\n" if i % 3 else f"{M},n{i}\n" for i in range(20))
    chunks = list(opened(tmp_path, HEAD + lines, chunk_rows=4).chunks())
    assert all(len(chunk.rows) <= 4 for chunk in chunks)
    in_order = [sorted([*chunk.rows, *(row.row for row in chunk.invalid)]) for chunk in chunks]
    assert [row for rows in in_order for row in rows] == list(range(2, 22))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends_are_found_out(tmp_path: Path, delimiter: str, line_end: str) -> None:
    rows = [["publishedMessageId", "messageName", "a,b;c|d"], [M, "one", "1,2;3|4"], [M, "two", ""]]
    text = line_end.join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    checked = run(tmp_path, text)
    assert checked.names == ["one", "two"]
    assert checked.others == ['["1,2;3|4"]', '[""]']


def test_a_named_delimiter_is_taken(tmp_path: Path) -> None:
    assert run(tmp_path, f"publishedMessageId^messageName\n{M}^one\n", delimiter="^").names == ["one"]


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n", "é", "x"])
def test_a_delimiter_that_cannot_be_is_a_configuration_error(tmp_path: Path, delimiter: str) -> None:
    with pytest.raises(ConfigurationError):
        run(tmp_path, HEAD + f"{M},one,x\n", delimiter=delimiter)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_files_are_read_by_their_mark(tmp_path: Path, encoding: str) -> None:
    assert run(tmp_path, (HEAD + f"{M},Grüße 😀,x\n").encode(encoding)).names == ["Grüße 😀"]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16", "mac-roman", "utf-8-sig"])
def test_named_encodings_are_taken(tmp_path: Path, encoding: str) -> None:
    assert run(tmp_path, (HEAD + f"{M},Grüße,x\n").encode(encoding), encoding=encoding).names == ["Grüße"]


@pytest.mark.parametrize("encoding", ["rot13", "hex", "no-such", "idna\0"])
def test_an_encoding_that_is_none_is_a_configuration_error(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(ConfigurationError):
        run(tmp_path, HEAD, encoding=encoding)


def test_a_mark_inside_the_text_is_text(tmp_path: Path) -> None:
    """Also where a record that is rewritten or left out stands before it."""
    assert run(tmp_path, f"messageName,publishedMessageId\n\ufeffone,{M}\n\n\ufefftwo,{M}\n").names == [
        "\ufeffone",
        "\ufefftwo",
    ]


@pytest.mark.parametrize(
    ("content", "encoding", "row"),
    [
        ((HEAD + f"{M},Gr\u00fc\u00dfe,x\n").encode("cp1252"), None, 2),
        ((HEAD + f'\n{M},"a\nb",x\n{M},').encode() + b"\xff,x\n", None, 4),
        ((HEAD + f"{M},a,x\n").encode() + b"\xe2\x82", None, 3),
        ((HEAD + f"{M},a,x\n{M},").encode("utf-16") + b"\x00\xd8\x41\x00", None, 3),
        ((HEAD + f"{M},a,x\n{M},").encode() + b"\x81,x\n", "cp1252", 3),
        (b"\xff" + HEAD.encode(), None, 1),
    ],
)
def test_bytes_that_do_not_fit_the_encoding_name_their_row(
    tmp_path: Path, content: bytes, encoding: str | None, row: int
) -> None:
    with pytest.raises(JobFileError, match=f"Row {row} holds bytes") as caught:
        run(tmp_path, content, encoding=encoding)
    assert caught.value.remedy is not None
    assert "--encoding" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"\n\r\n\n", "empty"),
        (HEAD, "no rows"),
        (HEAD + "\n\n", "no rows"),
        (HEAD + f'{M},"open,x\n{M},b,x\n', "row 2 and is never closed"),
        ('"publishedMessageId,messageName\n' + M, "No header"),
        ("publishedMessageId,messageName,a,a\n", "stands there twice"),
        ("publishedMessageId,messageName,\n", "Column 3 has no header"),
        ("publishedMessageId,messageName,Message Name\n", "both stand for messageName"),
        ("publishedMessageId,store\n", "no column messageName"),
        ("messageName,store\n", "no column publishedMessageId"),
        ("just some text\n", "no column"),
        (HEAD.encode("utf-16-le"), "NUL"),
        ("," * 20_000 + "\n", "20,001 columns"),
        (HEAD + "," * 20_000 + "\n", "20,001 cells"),
        ("x" * (2**20 + 10), "No header"),
    ],
)
def test_a_file_that_cannot_be_read_as_a_whole_says_why(tmp_path: Path, content: str | bytes, what: str) -> None:
    with pytest.raises(JobFileError, match=what):
        run(tmp_path, content)


def test_a_nul_character_is_a_problem_of_its_row(tmp_path: Path) -> None:
    checked = run(tmp_path, HEAD + f"{M},ok,x\n{M},a\0b,x\n{M},ok2,x\n")
    assert checked.codes == [(3, "messageName", "nul_character")]
    assert checked.names == ["ok", "ok2"]


def test_a_file_whose_only_column_is_the_name_needs_a_default(tmp_path: Path) -> None:
    """Also: an empty quoted cell is a row with a blank name, an empty line is no row."""
    text = 'messageName\none\n\n""\n   \ntwo\n'
    checked = run(tmp_path, text, defaults={"publishedMessageId": M})
    assert checked.names == ["one", "two"]
    assert checked.codes == [(4, None, "blank_row"), (5, "messageName", "name_only_spaces")]
    assert [job.published_message_id for job in checked.jobs] == [M, M]


def test_other_columns_are_carried_as_json(tmp_path: Path) -> None:
    text = f'store,publishedMessageId,"own\ner",messageName\nBerlin,{M},A "B" \\,one\n,{M},"x\ny",two\nÖ,{M},z,three\n'
    checked = run(tmp_path, text)
    assert checked.check.other_columns == ("store", "own\ner")
    assert [json.loads(text or "") for text in checked.others] == [
        ["Berlin", 'A "B" \\'],
        ["", "x\ny"],
        ["Ö", "z"],
    ]
    plain = run(tmp_path, f"store,publishedMessageId,owner,messageName\nÖ,{M},z,three\n")
    assert plain.others == ['["Ö","z"]']


def test_without_other_columns_nothing_is_carried(tmp_path: Path) -> None:
    assert run(tmp_path, f"publishedMessageId,messageName\n{M},one\n").others == [None]


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = ("\ufeff" + HEAD + f"{M},one,x\r\n").encode()
    check = opened(tmp_path, content)
    assert check.digest == ""
    list(check.chunks())
    assert check.digest == hashlib.sha256(content).hexdigest()


def test_a_file_may_be_read_again(tmp_path: Path) -> None:
    check = opened(tmp_path, HEAD + f"{M},one,x\n{M},two,x\n")
    assert [chunk.message_name for chunk in check.chunks()] == [chunk.message_name for chunk in check.chunks()]
    assert check.rows == 2


def test_a_file_changed_between_passes_is_refused(tmp_path: Path) -> None:
    check = opened(tmp_path, HEAD + f"{M},one,x\n")
    list(check.chunks())
    (tmp_path / "jobs.csv").write_text(HEAD + f"{M},other,x\n")
    with pytest.raises(JobFileError, match="changed"):
        list(check.chunks())
    (tmp_path / "jobs.csv").write_text(f"messageName,publishedMessageId\nx,{M}\n")
    with pytest.raises(JobFileError, match="changed"):
        list(check.chunks())
    (tmp_path / "jobs.csv").unlink()
    with pytest.raises(JobFileError, match="no file"):
        list(check.chunks())


def test_records_across_many_pieces_keep_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.jobs.text.PIECE", 11)
    text = HEAD + "".join(f'{M},"name\n{i}é",x\r\n' for i in range(30)) + f"{M},torn\r\n{M},end,x\r\n"
    checked = run(tmp_path, text)
    assert checked.names == [*(f"name\n{i}é" for i in range(30)), "end"]
    assert checked.rows == [*range(2, 32), 33]
    assert checked.codes == [(32, None, "too_few_cells")]


def test_an_endless_cell_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    with path.open("wb") as file:
        file.write((HEAD + f'{M},"').encode())
        for _ in range(60):
            file.write(b"line\n" * 200_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(JobFileError, match="Row 2 is longer than 16 MiB"):
        list(FileCheck(path, rules=CheckRules(now=NOW)).chunks())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


CELLS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


@given(
    rows=st.lists(st.tuples(CELLS.filter(lambda text: bool(text) and not text.isspace()), CELLS, CELLS), max_size=12),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    chunk_rows=st.integers(1, 5),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_survives_from_cell_to_job(
    tmp_path: Path, rows: Any, delimiter: str, encoding: str, line_end: str, quoting: Any, chunk_rows: int
) -> None:
    out = io.StringIO(newline="")
    if any("\r" in cell or "\n" in cell for row in rows for cell in row):
        quoting = csv.QUOTE_ALL  # the csv module forgets to quote line breaks other than its own
    writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerow(["messageName", "publishedMessageId", "one", "two"])
    writer.writerows([name, M, one, two] for name, one, two in rows)
    path = tmp_path / "jobs.csv"
    path.write_bytes(out.getvalue().encode(encoding))
    check = FileCheck(path, rules=CheckRules(now=NOW, chunk_rows=chunk_rows))
    if not rows:
        with pytest.raises(JobFileError):
            Checked(check)
        return
    checked = Checked(check)
    assert checked.names == [name for name, _, _ in rows]
    assert [json.loads(text or "") for text in checked.others] == [[one, two] for _, one, two in rows]
    assert checked.rows == list(range(2, 2 + len(rows)))


HEADS = st.sampled_from([b"", HEAD.encode(), HEAD.encode("utf-16"), b"PAR1", b"messageName;publishedMessageId\r\n"])
TAILS = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from([M.encode(), b",", b'"', b"\n", b"\r", b"x", b"\0", b"\xff", b";", b"5"])).map(b"".join),
)


@given(head=HEADS, tail=TAILS, chunk_rows=st.integers(1, 4))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_give_anything_but_rows_or_a_job_file_error(
    tmp_path: Path, head: bytes, tail: bytes, chunk_rows: int
) -> None:
    path = tmp_path / "jobs.csv"
    path.write_bytes(head + tail)
    try:
        check = FileCheck(path, rules=CheckRules(now=NOW, chunk_rows=chunk_rows))
        checked = Checked(check)
    except JobFileError:
        return
    assert check.rows == len(checked.rows) + len(checked.invalid)
    check.repeats()


@given(records=st.lists(st.text(alphabet=',"\n\r5x', max_size=12), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_messy_rows_are_read_as_the_csv_module_reads_them(tmp_path: Path, records: list[str]) -> None:
    """Every record is there, in its row, with its cells: in a job, or in an invalid row."""
    body = "".join(f"name{i}{record}\n" for i, record in enumerate(records))
    path = tmp_path / "jobs.csv"
    text = "messageName,a,b\n" + body
    path.write_text(text, newline="")
    try:
        checked = Checked(FileCheck(path, rules=CheckRules(now=NOW, defaults={"publishedMessageId": M})))
    except JobFileError as error:
        assert "never closed" in str(error)  # noqa: PT017 - the other outcome is checked below
        return
    found = {
        row: [job.message_name, *json.loads(other or "")]
        for row, job, other in zip(checked.rows, checked.jobs, checked.others, strict=True)
    }
    for bad in checked.invalid:
        found[bad.row] = [cell for header, cell in bad.cells.items() if header]
        if "" in bad.cells:
            found[bad.row] += bad.cells[""].split(",")
    expected = {}
    for row, cells in enumerate(csv.reader(io.StringIO(text, newline="")), start=1):
        if cells and row > 1:
            expected[row] = cells if len(cells) <= 3 else [*cells[:3], *",".join(cells[3:]).split(",")]
    assert found == expected
