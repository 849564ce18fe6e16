"""A file is taken for a ledger only when it is this org's and whole; everything else is said and left alone."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path

import pytest
from ledger.ledger_rows import ORG, chunk, claim_all, jobs, owned, sent, stage, start

from runner.errors import LedgerError, LedgerLockedError, LedgerWriteError, RunnerError
from runner.ledger.schema import SCHEMA_VERSION
from runner.ledger.store import Ledger
from runner.model import Balance


def made(path: Path, count: int = 3) -> None:
    with Ledger.open(path, org=ORG) as ledger:
        stage(ledger, chunk(jobs(*(f"n{i}" for i in range(count)))))


def test_a_ledger_outlives_its_process(path: Path) -> None:
    made(path)
    with Ledger.open(path, org=ORG) as ledger:
        assert owned(ledger, 1) == ["n0", "n1", "n2"]
        assert ledger.batch(1).source == "/files/campaign.csv"


def test_only_its_owner_can_read_a_new_ledger(path: Path) -> None:
    with Ledger.open(path, org=ORG) as ledger:
        stage(ledger, chunk(jobs("a")))
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == [path.name, f"{path.name}-shm", f"{path.name}-wal"]
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_commits_wait_for_the_disk_and_readers_do_not_wait_for_writers(path: Path) -> None:
    with Ledger.open(path, org=ORG) as ledger:
        driver = ledger._database._driver()
        assert driver.execute("PRAGMA synchronous").fetchone() == (2,)
        assert driver.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert driver.execute("PRAGMA foreign_keys").fetchone() == (1,)


@pytest.mark.parametrize("how", [{"read_only": True}, {"create": False}])
def test_where_none_is_to_be_made_none_is_made(path: Path, how: dict[str, bool]) -> None:
    with pytest.raises(LedgerError, match="no ledger"):
        Ledger.open(path, org=ORG, **how)
    assert not path.exists()


def test_a_ledger_of_another_org_is_refused(path: Path) -> None:
    made(path)
    with pytest.raises(LedgerError, match='"acme-eu", not to "acme-us"'):
        Ledger.open(path, org="acme-us")


def test_a_ledger_of_a_newer_version_is_refused(path: Path) -> None:
    made(path)
    with sqlite3.connect(path) as driver:
        driver.execute("UPDATE ledger_info SET schema_version = ?", (SCHEMA_VERSION + 1,))
    driver.close()
    with pytest.raises(LedgerError, match="another version"):
        Ledger.open(path, org=ORG)


@pytest.mark.parametrize("content", [b"name,id\n" * 500, b"x", b"SQLite format 3\x00" + b"\xff" * 4096])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_ledger_is_refused_and_left_as_it_is(path: Path, content: bytes, *, read_only: bool) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerError):
        Ledger.open(path, org=ORG, read_only=read_only)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as driver:
        driver.execute("CREATE TABLE jobs (id INTEGER)")
    driver.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger.open(path, org=ORG)
    assert path.read_bytes() == before
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger.open(path.parent, org=ORG)


def test_a_ledger_whose_maker_died_before_its_tables_is_made_anew_but_never_read(path: Path) -> None:
    path.touch(mode=0o600)
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger.open(path, org=ORG, read_only=True)
    made(path)


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.1])
def test_a_ledger_cut_short_is_found_damaged(path: Path, kept: float) -> None:
    made(path, count=2_000)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) // 4096 * 4096])
    with pytest.raises(LedgerError, match=r"damaged|not a ledger"):
        Ledger.open(path, org=ORG)


def test_damage_in_the_middle_is_an_error_of_ours_when_it_is_met(path: Path) -> None:
    made(path, count=2_000)
    content = bytearray(path.read_bytes())
    for page in range(4, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)
    with pytest.raises(LedgerError), Ledger.open(path, org=ORG) as ledger:
        ledger.balance(1)


def test_a_full_disk_stops_a_turn_and_a_staging_and_leaves_the_books_as_they_were(path: Path) -> None:
    """SQLite is told that the file may not grow, which is what a full disk comes to."""
    made(path, count=400)
    with Ledger.open(path, org=ORG) as ledger:
        run_id = start(ledger, 1)
        claims = claim_all(ledger, 1, run_id)
        driver = ledger._database._driver()
        (pages,) = driver.execute("PRAGMA page_count").fetchone()
        driver.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(LedgerWriteError, match="disk is full") as caught:
            ledger.turn(run_id, results=[sent(one, message="x" * 500) for one in claims], batch_id=1, claim=0, now_ms=1)
        assert str(path) in caught.value.what
        with pytest.raises(LedgerWriteError, match="disk is full"):
            stage(ledger, chunk(jobs(*(f"new{i}" for i in range(2_000)))), digest="2")
        assert ledger.balance(1) == Balance(rows=400, in_doubt=400)
        driver.execute("PRAGMA max_page_count = 1000000")
        ledger.turn(run_id, results=[sent(one) for one in claims], batch_id=1, claim=0, now_ms=1)
        assert ledger.balance(1) == Balance(rows=400, sent=400)


def test_a_ledger_locked_by_another_writer_is_an_error_of_ours(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(path)
    monkeypatch.setattr("runner.ledger.sqlite._BUSY_TIMEOUT_S", 0.05)
    with Ledger.open(path, org=ORG) as ledger, Ledger.open(path, org=ORG) as other:
        with ledger._database.held(), pytest.raises(LedgerWriteError, match="locked"):
            start(other, 1)
        assert start(other, 1) == 1


def test_who_must_not_wait_is_told_at_once_and_everybody_else_waits_as_before(path: Path) -> None:
    made(path)
    with Ledger.open(path, org=ORG) as ledger, Ledger.open(path, org=ORG) as other:
        run_id = start(ledger, 1)
        patience = "PRAGMA busy_timeout"
        before = ledger._database._driver().execute(patience).fetchone()
        turn = partial(ledger.turning, run_id, results=[], batch_id=1, claim=9, now_ms=1, wait=False)
        with other._database.held(), pytest.raises(LedgerLockedError, match="locked"), turn():
            pytest.fail("the turn was begun")
        assert ledger._database._driver().execute(patience).fetchone() == before
        with turn() as claimed:
            assert claimed
            assert other.balance(1).in_doubt == 0
        assert other.balance(1).in_doubt == len(claimed)
        assert ledger._database._driver().execute(patience).fetchone() == before > (0,)


def test_a_place_where_no_file_can_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    for place in (tmp_path / "missing" / "a.db", Path("/proc/a.db"), tmp_path / ("n" * 300)):
        with pytest.raises(LedgerWriteError) as caught:
            Ledger.open(place, org=ORG)
        assert caught.value.remedy


def test_changes_during_a_staging_of_the_same_ledger_are_refused(path: Path) -> None:
    made(path)
    with Ledger.open(path, org=ORG) as ledger:
        with ledger.staging(name="a", source="a", headers=[], other_columns=[], attributes={}, now_ms=1) as staging:
            staging.add(chunk(jobs("a")))
            assert ledger.newest_unfinished() is not None
            with pytest.raises(LedgerError, match="not finished"):
                start(ledger, 1)
        assert start(ledger, 1) == 1


def test_a_text_that_cannot_be_stored_is_an_error_of_ours(path: Path) -> None:
    with Ledger.open(path, org=ORG) as ledger:
        with pytest.raises(RunnerError):
            stage(ledger, chunk(jobs("\ud800")))
        with pytest.raises(RunnerError):
            stage(ledger, chunk(jobs("a", contact_source_id=2**63)))


def test_using_and_exporting_a_ledger_needs_no_pandas() -> None:
    code = (
        "import sys, runner.ledger.store, runner.ledger.results; sys.exit(bool({'pandas', 'pyarrow'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 # our own interpreter


def test_a_ledger_in_a_folder_nobody_may_write_can_be_read_and_is_not_written(path: Path) -> None:
    """On a medium that is read-only there is no place for the file that reading a write-ahead log asks for."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / path.name
        made(place)
        place.chmod(0o444)
        Path(folder).chmod(0o555)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads that other tests' libraries have started
            child = os.fork()
        if child == 0:  # root may write everywhere, so somebody else has to look
            os._exit(_look_as_nobody(place))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [file.name for file in Path(folder).iterdir()] == [place.name]


def _look_as_nobody(place: Path) -> int:
    try:
        if os.geteuid() == 0:
            os.setuid(65_534)
        with Ledger.open(place, org=ORG, read_only=True) as ledger:
            pending = ledger.balance(1).pending
        try:
            Ledger.open(place, org=ORG).start_run(1, settle_s=1, now_ms=1)
        except LedgerWriteError:
            return 0 if pending == 3 else 1
    except BaseException:  # noqa: BLE001 # the child has nobody to raise to
        return 2
    return 3
