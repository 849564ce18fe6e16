from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from console.console_desk import COLUMNS, ROOT, Desk

from runner.model import Problem
from runner.sandbox.catalogue import message_id
from runner.sandbox.thread import SandboxThread

SAMPLES = ROOT / "sample_csv"
HALF_ZONED = frozenset({"local_time_skipped", "local_time_twice"})
"""Problems that only a file whose dates are read in a configured zone can have."""


def found_problems(path: Path) -> list[dict[str, str]]:
    """A problems file, a line each."""
    with path.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_a_sound_file_has_no_problems_and_needs_neither_configuration_nor_secrets(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SMS_RUNNER_REFRESH_TOKEN")
    for sample in ("campaign.csv", "campaign.parquet", "scenarios.csv"):
        shutil.copy(SAMPLES / sample, desk.folder)
        said = desk.call("check", sample)
        assert (said.code, said.err) == (0, ""), said
    assert list(desk.home.iterdir()) == []


def test_every_row_of_the_sample_of_problems_has_the_problem_it_names(desk: Desk) -> None:
    desk.configure("http://127.0.0.1:9", 'timezone = "Europe/Berlin"')
    with (SAMPLES / "problems.csv").open(encoding="utf-8", newline="") as text:
        rows = list(csv.reader(text))
    said = desk.call("check", SAMPLES / "problems.csv", "--problems", "zoned.csv")
    (desk.folder / "sms-runner.toml").unlink()
    assert desk.call("check", SAMPLES / "problems.csv", "--problems", "unzoned.csv").code == said.code == 3
    found: dict[int, set[str]] = {}
    for name in ("zoned.csv", "unzoned.csv"):
        for problem in found_problems(desk.folder / name):
            found.setdefault(int(problem["row"]), set()).add(problem["code"])
    for number, cells in enumerate(rows[1:], start=2):
        wanted = cells[0]
        if wanted == "in order":
            assert number not in found
        elif wanted:
            assert wanted in found.get(number, set()), f"row {number}"
    assert found[len(rows)], "the empty row at the end is a problem too"
    assert {cells[0] for cells in rows} >= HALF_ZONED


def test_a_problems_file_holds_all_of_them_and_the_screen_the_first_twenty(desk: Desk) -> None:
    file = desk.jobs(30, extra={"preBlockingHours": ["soon"] * 30})
    said = desk.call("check", file, "--problems", "p.csv")
    found = found_problems(desk.folder / "p.csv")
    assert list(found[0]) == list(Problem.__slots__)
    assert [int(problem["row"]) for problem in found] == list(range(2, 32))
    assert said.out.count("preBlockingHours: 'soon'") == 20
    assert "10 more" in said.words
    assert "30 rows, 0 good, 30 with problems" in said.words


def test_the_problems_of_a_send_are_those_of_its_check(desk: Desk, sandbox: SandboxThread) -> None:
    desk.configure("http://127.0.0.1:9")
    file = desk.jobs(4, extra={"preBlockingHours": ["1", "soon", "", "2"]})
    text = file.read_text(encoding="utf-8").replace("Job 4", "Job 1")
    file.write_text(text, encoding="utf-8")
    assert desk.call("check", file, "--problems", "checked.csv").code == 3
    assert desk.call("send", file, "--yes", "--problems", "sent.csv").code == 3
    assert found_problems(desk.folder / "checked.csv") == found_problems(desk.folder / "sent.csv")
    assert len(found_problems(desk.folder / "sent.csv")) == 2
    desk.configure(sandbox.url)
    assert desk.call("send", file, "--yes", "--skip-invalid", "--problems", "skipped.csv").code == 1
    assert found_problems(desk.folder / "skipped.csv") == found_problems(desk.folder / "sent.csv")
    assert sandbox.stats().accepted == 2


def test_problems_are_never_written_over_the_job_file(desk: Desk, sandbox: SandboxThread) -> None:
    file = desk.jobs(2)
    content = file.read_bytes()
    for command in (["check", "jobs.csv"], ["send", "jobs.csv", "--yes"]):
        assert desk.call(*command, "--problems", "jobs.csv").code == 2
    assert file.read_bytes() == content
    assert sandbox.stats().accepted == 0
    assert desk.call("check", file, "--problems", "nowhere/p.csv").code == 2


@pytest.mark.usefixtures("sandbox")
def test_results_are_never_exported_over_the_job_file(desk: Desk) -> None:
    file = desk.jobs(2)
    content = file.read_bytes()
    desk.call("send", file, "--yes")
    assert desk.call("export", "jobs.csv").code == 2
    assert file.read_bytes() == content


def test_online_tells_of_messages_that_the_org_has_not_published(desk: Desk, sandbox: SandboxThread) -> None:
    stranger = "ffffffff-0000-4000-8000-000000000001"
    lines = [f"{stranger},One,1", f"{message_id(1).upper()},Two,2", f"{stranger},Three,3"]
    (desk.folder / "jobs.csv").write_text("\n".join([",".join(COLUMNS), *lines]), encoding="utf-8")
    assert desk.call("check", "jobs.csv").code == 0
    assert sum(sandbox.stats().requests.values()) == 0
    said = desk.call("check", "jobs.csv", "--online", "--json")
    assert said.code == 3
    assert said.json["unpublished"] == {stranger: 2}
    assert "2 rows would send it" in " ".join(said.err.split())
    assert sandbox.stats().requests["sendjobs"] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"publishedMessageId,messageName,schedulDate\n", "scheduledDate"),
        (b"messageName\nx\n", "publishedMessageId"),
        (None, "no"),
    ],
    ids=["empty", "misspelt header", "missing column", "no file"],
)
def test_a_file_that_cannot_be_read_at_all_is_told_without_a_traceback(
    desk: Desk, sandbox: SandboxThread, content: bytes | None, words: str
) -> None:
    if content is not None:
        (desk.folder / "bad.csv").write_bytes(content)
    for command in (["check"], ["send", "--yes"]):
        said = desk.call(*command, "bad.csv")
        assert said.code == 3, said
        assert words in said.words
        assert "Traceback" not in said.err
    assert sum(sandbox.stats().requests.values()) == 0


def test_guards_ask_for_their_flags(desk: Desk, sandbox: SandboxThread) -> None:
    lines = [
        ",".join([*COLUMNS, "scheduledDate"]),
        f"{message_id(1)},One,,",
        f"{message_id(1)},Two,5,",
        f"{message_id(1)},Three,5,",
        f"{message_id(1)},Four,6,2001-01-01T00:00:00Z",
    ]
    (desk.folder / "jobs.csv").write_text("\n".join(lines), encoding="utf-8")
    flags = ["--allow-default-audience", "--allow-repeat-audience", "--allow-past-date"]
    for left_out in flags:
        given = [flag for flag in flags if flag != left_out]
        said = desk.call("check", "jobs.csv", *given)
        assert said.code == 3
        assert left_out in said.words, "the flag is named where it is missed"
    assert desk.call("check", "jobs.csv", *flags).code == 0
    assert desk.call("send", "jobs.csv", "--yes", *flags).code == 0
    assert sandbox.stats().accepted == 4
