"""The scan finds the records and cells that Python's csv module finds, in any text, however it is cut into pieces."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.jobs import structure
from runner.jobs.structure import LongRecordError, OpenQuoteError, Splitter, blocks, joined, split

TEXTS = st.text(alphabet=',;"\n\rab 5é', max_size=40)


def scanned(text: str, delimiter: str = ",", piece: int = 7) -> list[tuple[str, int, bool]]:
    """Record text, number of cells, irregular; through pieces of a few bytes."""
    data = text.encode()
    pieces = (data[start : start + piece] for start in range(0, len(data), piece))
    found = []
    for block in blocks(pieces, Splitter(delimiter)):
        for place in range(len(block.begins)):
            record = block.data[block.begins[place] : block.ends[place]].decode()
            irregular = block.irregular is not None and bool(block.irregular[place])
            found.append((record, int(block.cells[place]), irregular))
    return found


def by_csv(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


@given(text=TEXTS, piece=st.integers(1, 50), delimiter=st.sampled_from(",;"))
@example(text='a,"b\r\nc"\r\nd', piece=1, delimiter=",")
@example(text='5" pipe,x\n"a""b","c"d\n', piece=50, delimiter=",")
@example(text='"a\r"\r\r\nb', piece=3, delimiter=",")
@settings(max_examples=300, deadline=None)
def test_records_and_cells_are_those_of_the_csv_module(text: str, piece: int, delimiter: str) -> None:
    expected = by_csv(text, delimiter)
    try:
        found = scanned(text, delimiter, piece)
    except OpenQuoteError:
        # The csv module closes what the end of the text leaves open; with one more quote it is closed in truth.
        assert by_csv(text + '"', delimiter)[-1:] or not expected
        with pytest.raises(csv.Error):
            list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        return
    assert [split(record, delimiter) if record else [] for record, _, _ in found] == expected
    assert [cells for _, cells, _ in found] == [len(cells) or 1 for cells in expected]


@given(text=TEXTS)
@settings(max_examples=300, deadline=None)
def test_records_with_literal_quotes_are_marked(text: str) -> None:
    """A record not marked says the same when its cells are written again by the csv module and read back."""
    try:
        found = scanned(text)
    except OpenQuoteError:
        return
    for record, _, irregular in found:
        if not irregular and record:
            strict = list(csv.reader([record], strict=True)) if "\n" not in record and "\r" not in record else None
            assert strict in (None, [split(record, ",")])


@given(cells=st.lists(st.text(max_size=10), min_size=1), delimiter=st.sampled_from(",;\t|"))
@settings(deadline=None)
def test_joined_cells_split_into_themselves(cells: list[str], delimiter: str) -> None:
    assert split(joined(cells, delimiter), delimiter) == cells


def test_an_open_quote_names_the_record_it_is_in() -> None:
    splitter = Splitter(",")
    splitter.feed(b'a,b\n1,2\n3,"4\n5,6\n')
    with pytest.raises(OpenQuoteError) as caught:
        splitter.finish()
    assert caught.value.row == 3


def test_a_record_that_does_not_end_is_given_up_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "RECORD_LIMIT", 100)
    splitter = Splitter(",")
    splitter.feed(b"a,b\n")
    splitter.feed(b"x" * 90)
    with pytest.raises(LongRecordError) as caught:
        splitter.feed(b"x" * 90)
    assert caught.value.row == 2


def test_a_complete_record_beyond_the_limit_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "RECORD_LIMIT", 100)
    with pytest.raises(LongRecordError) as caught:
        Splitter(",").feed(b"a,b\nc,d\n" + b"x" * 101 + b"\ne,f\n")
    assert caught.value.row == 3
