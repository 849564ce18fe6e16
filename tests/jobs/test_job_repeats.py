"""Guards and repeats: what looks right row by row and is still not what anybody wants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobs.job_checking import MESSAGE, Checked, opened, run

from runner.jobs import fingerprints, repeats
from runner.jobs.fingerprints import Fingerprints
from runner.model import Scenario

OTHER = MESSAGE[:-1] + "2"
HEAD = "publishedMessageId,messageName,contactSourceId,scheduledDate\n"
NINE = "2031-05-04T09:00:00+02:00"


def test_a_name_twice_is_a_problem_of_the_later_row(tmp_path: Path) -> None:
    text = HEAD + f"{MESSAGE},a,1,\n{MESSAGE},b,2,\n\n{MESSAGE},a,3,\n{MESSAGE},a,4,\n{MESSAGE},A,5,\n"
    checked = run(tmp_path, text)
    assert len(checked.jobs) == 5
    found = checked.check.repeats()
    assert list(found) == [5, 6]
    problem = found[6]
    assert (problem.row, problem.column, problem.value) == (6, "messageName", "a")
    assert problem.code == "name_twice_in_file"
    assert problem.scenario is Scenario.MESSAGE_NAME_NOT_UNIQUE
    assert "row 2 " in problem.rule
    with pytest.raises(KeyError):
        found[4]
    again = Checked(opened(tmp_path, text), excluded=found)
    assert again.names == ["a", "b", "A"]
    assert again.codes == [(5, "messageName", "name_twice_in_file"), (6, "messageName", "name_twice_in_file")]
    assert not again.check.repeats()
    plain = Checked(opened(tmp_path, text), excluded=dict(found))
    assert plain.codes == again.codes


def test_only_rows_that_are_in_order_otherwise_count(tmp_path: Path) -> None:
    checked = run(tmp_path, HEAD + f"{MESSAGE},a,x,\n{MESSAGE},a,1,\n")
    assert checked.rows == [3]
    assert not checked.check.repeats()


def test_the_same_audience_twice_is_a_problem_unless_allowed(tmp_path: Path) -> None:
    """The time is compared as an instant, the id in any case; nothing else of the row matters."""
    rows = [
        f"{MESSAGE},a,1,{NINE}",
        f"{MESSAGE.upper()},b,1,2031-05-04T07:00:00.000Z",
        f"{OTHER},c,1,{NINE}",
        f"{MESSAGE},d,2,{NINE}",
        f"{MESSAGE},e,1,2031-05-04T09:00:00.001+02:00",
        f"{MESSAGE},f,1,",
        f"{MESSAGE},g,01,",
    ]
    text = HEAD + "\n".join(rows)
    found = run(tmp_path, text).check.repeats()
    assert [(row, problem.code, problem.column) for row, problem in found.items()] == [
        (3, "audience_twice_in_file", "contactSourceId"),
        (8, "audience_twice_in_file", "contactSourceId"),
    ]
    assert "Row 2 " in found[3].rule
    assert not run(tmp_path, text, allow_repeat_audience=True).check.repeats()


def test_a_row_that_repeats_a_name_is_nobodys_first_audience(tmp_path: Path) -> None:
    """Row 3 is out for its name, so row 4 sends something nobody else sends."""
    found = run(tmp_path, HEAD + f"{MESSAGE},a,1,\n{MESSAGE},a,2,\n{MESSAGE},b,2,\n").check.repeats()
    assert [(row, problem.code) for row, problem in found.items()] == [(3, "name_twice_in_file")]


def test_the_default_audience_counts_as_one_audience(tmp_path: Path) -> None:
    text = f"publishedMessageId,messageName\n{MESSAGE},a\n{MESSAGE},b\n"
    assert list(run(tmp_path, text).check.repeats()) == [3]


def test_a_blank_contact_source_is_a_problem_only_in_a_file_that_has_the_column(tmp_path: Path) -> None:
    text = HEAD + f"{MESSAGE},a,1,\n{MESSAGE},b,,\n"
    assert run(tmp_path, text).codes == [(3, "contactSourceId", "blank_contact_source")]
    assert run(tmp_path, text, allow_default_audience=True).codes == []
    assert run(tmp_path, text, defaults={"contactSourceId": "5"}).codes == []
    assert run(tmp_path, f"publishedMessageId,messageName\n{MESSAGE},a\n").codes == []


class Ledger:
    """Knows some names, and notes what it is asked."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.asked: list[str] = []

    def settled(self, names: Sequence[str]) -> Collection[str]:
        """As `FileCheck.chunks` asks for."""
        self.asked += names
        return self.names & set(names)


def test_guards_are_silent_for_jobs_that_will_not_be_sent(tmp_path: Path) -> None:
    """And only names with a guard's problem are asked about; a broken rule stays a problem."""
    rows = [
        f"{MESSAGE},sent before,1,2001-01-01T00:00:00Z",
        f"{MESSAGE},too late,2,2001-01-01T00:00:00Z",
        f"{MESSAGE},sent blank,,",
        f"{MESSAGE},fine,3,",
        "broken,sent broken,,",
    ]
    ledger = Ledger("sent before", "sent blank", "sent broken", "fine")
    checked = Checked(opened(tmp_path, HEAD + "\n".join(rows)), settled=ledger.settled)
    assert checked.names == ["sent before", "sent blank", "fine"]
    assert checked.codes == [(3, "scheduledDate", "date_in_past"), (6, "publishedMessageId", "not_a_uuid")]
    assert set(ledger.asked) == {"sent before", "too late", "sent blank", "sent broken"}


def test_a_repeated_audience_is_silent_for_jobs_that_will_not_be_sent(tmp_path: Path) -> None:
    text = HEAD + "".join(f"{MESSAGE},{name},1,\n" for name in "abcd")
    ledger = Ledger("b", "d")
    checked = Checked(opened(tmp_path, text), settled=ledger.settled)
    assert list(checked.check.repeats()) == [4]
    assert set(ledger.asked) == {"b", "c", "d"}
    # Excluded without the ledger's knowledge, it is let through by a pass that has it.
    all_of_them = run(tmp_path, text).check.repeats()
    assert list(all_of_them) == [3, 4, 5]
    again = Checked(opened(tmp_path, text), settled=ledger.settled, excluded=all_of_them)
    assert again.names == ["a", "b", "d"]


def test_repeats_need_a_complete_pass(tmp_path: Path) -> None:
    check = opened(tmp_path, HEAD + f"{MESSAGE},a,1,\n" * 9, chunk_rows=2)
    with pytest.raises(RuntimeError):
        check.repeats()
    next(check.chunks())
    with pytest.raises(RuntimeError):
        check.repeats()
    assert check.rows == 0


NAMES = st.sampled_from(["a", "b", "c", "d", "é"])


@given(rows=st.lists(st.tuples(NAMES, st.integers(1, 3)), min_size=1, max_size=14), chunk_rows=st.integers(1, 6))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_repeats_are_what_a_plain_look_finds(tmp_path: Path, rows: list[tuple[str, int]], chunk_rows: int) -> None:
    text = HEAD + "".join(f"{MESSAGE},{name},{contact},\n" for name, contact in rows)
    found = run(tmp_path, text, chunk_rows=chunk_rows).check.repeats()
    names: dict[str, int] = {}
    audiences: dict[int, int] = {}
    expected = {}
    for row, (name, contact) in enumerate(rows, start=2):
        if name in names:
            expected[row] = ("name_twice_in_file", names[name])
        elif contact in audiences:
            expected[row] = ("audience_twice_in_file", audiences[contact])
            names[name] = row
        else:
            names[name] = audiences[contact] = row
    assert {row: problem.code for row, problem in found.items()} == {row: code for row, (code, _) in expected.items()}
    for row, (_, first) in expected.items():
        assert f"ow {first} " in found[row].rule
    assert len(found) == len(expected)


@given(
    batches=st.lists(
        st.lists(st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**63, 2**64 - 1]))), max_size=9
    )
)
@settings(deadline=None)
def test_fingerprints_that_occur_twice_are_found_in_memory_and_on_disk(batches: list[list[int]]) -> None:
    expected = sorted(print_ for print_, count in Counter(chain(*batches)).items() if count > 1)
    for kept in (1, 3, 2**20):
        collected = Fingerprints(kept=kept)
        for batch in batches:
            collected.add(np.array(batch, np.uint64))
        assert collected.twice().tolist() == expected
        collected.close()


def test_two_names_with_one_fingerprint_are_not_taken_for_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a first fingerprint that is the same for all, the second one still tells names apart."""
    real = fingerprints.text_prints
    keys: list[str] = []

    def weak(words: Any, key: str) -> Any:
        if key not in keys:
            keys.append(key)
        return real(words, key) * np.uint64(0 if key == keys[0] else 1)

    monkeypatch.setattr(repeats, "text_prints", weak)
    text = HEAD + "".join(f"{MESSAGE},{name},{place},\n" for place, name in enumerate("abcabd", start=1))
    found = run(tmp_path, text, chunk_rows=2, allow_repeat_audience=True).check.repeats()
    assert {row: problem.rule.split("row ")[1].split()[0] for row, problem in found.items()} == {5: "2", 6: "3"}


def test_a_file_of_one_name_only_stays_small(tmp_path: Path) -> None:
    """Beyond a number of repeats only rows are kept; the name is added from the row when it is excluded."""
    text = HEAD + f"{MESSAGE},a,1,\n" * (repeats.NAMES_KEPT + 100)
    checked = run(tmp_path, text)
    found = checked.check.repeats()
    last = repeats.NAMES_KEPT + 101
    assert len(found) == repeats.NAMES_KEPT + 99
    assert found[3].value == "a"
    assert found[last].value is None
    again = Checked(opened(tmp_path, text), excluded=found)
    assert again.rows == [2]
    assert again.problems[-1].row == last
    assert again.problems[-1].value == "a"
