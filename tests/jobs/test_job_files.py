"""Which files are taken: decided by what is in them, and refused with a way out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from jobs.job_checking import MESSAGE, NOW, opened

from runner.errors import JobFileError
from runner.jobs.checks import CheckRules, FileCheck

TEXT = f"publishedMessageId,messageName\n{MESSAGE},a\n"


@pytest.mark.parametrize("name", ["jobs.csv", "jobs.tsv", "jobs.txt", "jobs", "jobs.CSV", "jobs.export"])
def test_delimited_text_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    assert opened(tmp_path, TEXT, name=name).kind == "csv"


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("jobs.xlsx", b"PK\x03\x04rest", "CSV UTF-8"),
        ("jobs.csv", b"PK\x03\x04rest", "CSV UTF-8"),
        ("jobs.xls", b"\xd0\xcf\x11\xe0rest", "CSV UTF-8"),
        ("jobs.csv.gz", b"\x1f\x8brest", "gunzip"),
        ("jobs.csv.bz2", b"BZh9rest", "Unpack"),
        ("jobs.json", b"[{}]", "CSV or Parquet"),
        ("jobs.jsonl", b"{}", "CSV or Parquet"),
        ("jobs.parquet", TEXT.encode(), "name it .csv"),
        ("jobs.parquet", b"PAR1", "Write the file again"),
        ("jobs.csv", b"PAR1" + b"x" * 100 + b"PAR1", "Write the file again"),
    ],
)
def test_other_kinds_are_refused_with_a_way_out(tmp_path: Path, name: str, content: bytes, remedy: str) -> None:
    with pytest.raises(JobFileError) as caught:
        opened(tmp_path, content, name=name)
    assert remedy in (caught.value.remedy or "")


def test_what_is_no_ordinary_file_is_refused(tmp_path: Path) -> None:
    rules = CheckRules(now=NOW)
    with pytest.raises(JobFileError, match="no file"):
        FileCheck(tmp_path / "missing.csv", rules=rules)
    with pytest.raises(JobFileError, match="directory"):
        FileCheck(tmp_path, rules=rules)
    with pytest.raises(JobFileError, match="no name"):
        FileCheck(Path("jobs\0.csv"), rules=rules)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(JobFileError, match="no ordinary file"):
        FileCheck(tmp_path / "pipe.csv", rules=rules)
    with pytest.raises(JobFileError, match="cannot be read"):
        FileCheck(tmp_path / ("x" * 300), rules=rules)


def test_the_room_itself_imports_nothing_heavy() -> None:
    """A command that reads no file must not pay for pandas; and what is imported for checking prints nothing."""
    heavy = "{'pandas', 'pyarrow', 'numpy'} & set(sys.modules)"
    code = f"import sys, runner.jobs; assert not {heavy}; import runner.jobs.checks"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - the command stands right here
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("chunk_rows", [0, -1])
def test_rules_that_make_no_sense_are_a_mistake_of_the_caller(tmp_path: Path, chunk_rows: int) -> None:
    with pytest.raises(ValueError, match="chunk_rows"):
        opened(tmp_path, TEXT, chunk_rows=chunk_rows)
    with pytest.raises(ValueError, match="aware"):
        opened(tmp_path, TEXT, now=NOW.replace(tzinfo=None))
