"""Files and answers that mean harm: told in a sentence, within bounds, and never shown raw to a terminal."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chaos.chaos_ground import Ground, Said, accepted, broken_promises, job_names

from runner.sandbox.catalogue import message_id
from runner.sandbox.faults import parse_faults
from runner.sandbox.options import SandboxOptions
from runner.sandbox.thread import SandboxThread

HEADER = b"publishedMessageId,messageName,contactSourceId\n"
ROW = f"{message_id(1)},Job,4100000\n".encode()
MB = 1024 * 1024
IMPORTS_MB = 400
"""What a check needs for its libraries and a small file, generously."""


def _xlsx() -> bytes:
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w") as book:
            book.writestr("[Content_Types].xml", "<Types/>")
            book.writestr("xl/workbook.xml", "<workbook/>")
        return buffer.getvalue()


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 8
WRONG_KINDS: dict[str, Callable[[], bytes]] = {
    "xlsx": _xlsx,
    "gz": lambda: gzip.compress(HEADER + ROW),
    "png": lambda: PNG,
    "empty": lambda: b"",
    "only line breaks": lambda: b"\n" * 1000,
    "only NUL": lambda: bytes(5000),
    "no rows": lambda: HEADER,
    "NUL in a name": lambda: HEADER + ROW.replace(b"Job", b"J\x00b"),
    "not UTF-8": lambda: HEADER + ROW.replace(b"Job", b"J\xf6b"),
    "a lone surrogate": lambda: HEADER + ROW.replace(b"Job", b"J\xed\xa0\x80b"),
    "UTF-16 without its mark": lambda: (HEADER + ROW).decode().encode("utf-16-le"),
    "an open quote": lambda: HEADER + ROW.replace(b"Job", b'"Job') * 50,
    "parquet cut off": lambda: b"PAR1" + bytes(200),
}


@pytest.mark.parametrize("kind", WRONG_KINDS)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_of_the_wrong_kind_is_refused_with_exit_code_3(ground: Ground, kind: str, ending: str) -> None:
    file = ground.folder / f"jobs.{ending}"
    file.write_bytes(WRONG_KINDS[kind]())
    said = ground.call("check", file)
    assert said.code == 3
    _is_fit_for_a_terminal(said)
    assert len(said.words) > 40, "and says why"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A command's end, and the most memory its process held."""

    said: Said
    peak_mb: float


def _check_measured(ground: Ground, file: Path) -> Measured:
    """`check`, and the most memory its process ever held: read before it is over, from what waits for its end."""
    run = ground.start("check", file)
    peak = 0.0
    while not run.ended:
        peak = max(peak, _peak_mb(run.pid))
        run.wait(0.02)
    return Measured(said=run.end(), peak_mb=peak)


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return 0.0
    peak = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(peak[0]) / 1024 if peak else 0.0


def test_a_cell_of_a_hundred_megabytes_is_a_problem_and_not_a_memory(ground: Ground) -> None:
    file = ground.folder / "jobs.csv"
    with file.open("wb") as out:
        out.write(HEADER + f"{message_id(1)},".encode())
        for _ in range(100):
            out.write(b"x" * MB)
        out.write(b",4100000\n" + ROW)
    measured = _check_measured(ground, file)
    print(f"peak {measured.peak_mb:.0f} MB")  # noqa: T201 - shown where it fails
    assert measured.said.code == 3
    _is_fit_for_a_terminal(measured.said)
    assert len(measured.said.out + measured.said.err) < 10_000
    assert measured.peak_mb < IMPORTS_MB + 200


def test_a_million_columns_are_refused_within_bounds(ground: Ground) -> None:
    file = ground.folder / "jobs.csv"
    with file.open("wb") as out:
        out.write(HEADER.rstrip() + b"".join(b",c%d" % number for number in range(1_000_000)) + b"\n")
        out.write(ROW.rstrip() + b"," * 1_000_000 + b"\n")
    measured = _check_measured(ground, file)
    print(f"peak {measured.peak_mb:.0f} MB")  # noqa: T201 - shown where it fails
    assert measured.said.code in {0, 3}
    _is_fit_for_a_terminal(measured.said)
    assert measured.peak_mb < IMPORTS_MB + 200


@pytest.mark.parametrize("kind", ["a dictionary of one value", "one row group", "a row group for each row"])
def test_a_parquet_bomb_is_refused_within_bounds(ground: Ground, kind: str) -> None:
    """One text of 16 MiB in every row: a gigabyte of text, or a quarter of one, in a few kilobytes of file."""
    file = ground.folder / "jobs.parquet"
    text, rows = "x" * (16 * MB), 16 if kind == "one row group" else 64
    names, ids = ([f"Job {number}" for number in range(rows)], [message_id(1)] * rows)
    table = pa.table(
        {
            "publishedMessageId": pa.array(ids),
            "messageName": pa.array(names),
            "externalSystemReferenceId": pa.DictionaryArray.from_arrays(
                pa.array([0] * rows, pa.int32()), pa.array([text])
            ),
        }
    )
    if kind == "a dictionary of one value":
        pq.write_table(table, file, compression="zstd")
    else:
        schema = pa.schema([(name, pa.string()) for name in table.column_names])
        group = rows if kind == "one row group" else 1
        with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=False) as writer:
            for first in range(0, rows, group):
                writer.write_table(table.slice(first, group).cast(schema))
    assert file.stat().st_size < MB
    measured = _check_measured(ground, file)
    print(f"peak {measured.peak_mb:.0f} MB, file {file.stat().st_size} bytes")  # noqa: T201 - shown where it fails
    assert measured.said.code == 3
    _is_fit_for_a_terminal(measured.said)
    assert measured.peak_mb < IMPORTS_MB + 500


NASTY = (
    "Robert'); DROP TABLE jobs;--",
    "../../etc/passwd",
    "C:\\con\\nul",
    '=HYPERLINK("http://evil.invalid","x")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "-1",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31mred",
    "\u202egnp.exe",
    "a\tb\x0bc\x08\x7f",
    "%s %n {0} ${HOME} `id`",
    "NaN",
    "null",
    "  spaces  ",
    "[bold]markup[/bold] :smile:",
    "é̀🎉" * 20,
)


def test_names_that_mean_harm_are_sent_byte_for_byte_and_never_shown_raw(ground: Ground) -> None:
    """A name is a name: to the API as it stands, to people with every control character as an escape."""
    file = ground.folder / "jobs.csv"
    with file.open("w", encoding="utf-8", newline="") as text:
        lines = csv.writer(text)
        lines.writerow(["publishedMessageId", "messageName", "contactSourceId"])
        lines.writerows([message_id(1), name, 4_100_000 + number] for number, name in enumerate(NASTY))
    checked = ground.call("check", file)
    _is_fit_for_a_terminal(checked)
    with (sandbox := SandboxThread(SandboxOptions(latency_s=0, faults=parse_faults(["500_after@2,5"])))) as url:
        ground.configure(url)
        said = ground.call("send", file, "--yes", "--skip-invalid", "-v", "--log-format", "console")
        _is_fit_for_a_terminal(said)
        sent = set(accepted(sandbox))
        assert sent <= set(NASTY)
        assert len(sent) >= len(NASTY) - 4, "few of these break a documented rule"
        for command in (["show"], ["batches"], ["export", "x.xlsx"], ["report", "x.html"], ["send", str(file)]):
            _is_fit_for_a_terminal(ground.call(*command))
        assert broken_promises(ground, sandbox, sent) == []
    assert sorted(path.name for path in ground.folder.iterdir() if path.suffix in {".exe", ".passwd"}) == []


HOSTILE_ANSWERS = (
    "endless_body=0.2",
    "huge_headers=0.2",
    "odd_charset=0.2",
    "cut_201=0.1",
    "garbled_201=0.1",
    "drip=0.05",
)


def test_answers_that_mean_harm_end_no_run(ground: Ground) -> None:
    """Bodies without end, headers of 256 KiB, charsets that do not exist: each job is sent once all the same."""
    options = SandboxOptions(latency_s=0.01, late_s=0.3, faults=parse_faults(HOSTILE_ANSWERS), seed=7, name_check="end")
    with (sandbox := SandboxThread(options)) as url:
        ground.configure(url, timeout_seconds=1, settle_seconds=0.5, max_attempts=20)
        run = ground.start("send", ground.jobs(60), "--yes")
        peak = 0.0
        while not run.ended:
            peak = max(peak, _peak_mb(run.pid))
            run.wait(0.05)
        said = run.end()
        assert said.code == 0
        assert "Traceback" not in said.words
        assert broken_promises(ground, sandbox, job_names(60)) == []
        assert len(sandbox.stats().faults) >= 4
        print(f"peak {peak:.0f} MB, {sandbox.stats().faults}")  # noqa: T201 - shown where it fails
        assert peak < IMPORTS_MB


def test_a_list_whose_next_page_is_elsewhere_is_not_followed(ground: Ground) -> None:
    """The list is asked for when a 403 must be told apart, and by `messages`."""
    with (sandbox := SandboxThread(SandboxOptions(latency_s=0, faults=parse_faults(["next_page_elsewhere=1"])))) as url:
        ground.configure(url)
        said = ground.call("messages")
        assert said.code == 4
        assert "Traceback" not in said.words
        assert "elsewhere.invalid" not in os.linesep.join(said.out.splitlines()[:1])
        assert sandbox.stats().requests["publishedmessages"] == 1


def _is_fit_for_a_terminal(said: Said) -> None:
    assert "Traceback" not in said.words
    shown = said.out + said.err
    raw = {char for char in shown if (ord(char) < 32 and char != "\n") or 127 <= ord(char) < 160 or char == "\u202e"}
    assert raw == set(), f"raw control characters in {shown!r}"
