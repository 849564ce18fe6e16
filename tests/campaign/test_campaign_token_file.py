from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from campaign.campaign_fakes import FakeTime
from filelock import FileLock
from structlog.testing import capture_logs

from runner.campaign.token_file import LOCK_PATIENCE_S, Token, TokenFile, is_token

TOKEN = Token(value="tok-S3CR3T", granted_at=1_750_000_000.5, expires_in=14_400.0)


def file_in(folder: Path, *, time: FakeTime | None = None, **key: str) -> TokenFile:
    parts = {"base_url": "https://api.test", "client_id": "client", "refresh_token": "refresh-S3CR3T"} | key
    return TokenFile(folder, sleep=(time or FakeTime()).sleep, **parts)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    file_in(tmp_path / "a" / "b").save(TOKEN)
    assert file_in(tmp_path / "a" / "b").load() == TOKEN


def test_file_and_folder_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        file = file_in(tmp_path / "cache")
        file.save(TOKEN)
    finally:
        os.umask(umask)
    assert mode(tmp_path / "cache") == 0o700
    assert mode(file.path) == 0o600
    assert list((tmp_path / "cache").iterdir()) == [file.path]  # no temporary file is left


def test_a_token_of_another_org_client_or_refresh_token_is_another_file(tmp_path: Path) -> None:
    file_in(tmp_path).save(TOKEN)
    assert file_in(tmp_path, base_url="https://b.test").load() is None
    assert file_in(tmp_path, client_id="c").load() is None
    assert file_in(tmp_path, refresh_token="r").load() is None
    assert "S3CR3T" not in str(file_in(tmp_path).path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"access_token":"t"}',
        b'{"access_token":7,"granted_at":1,"expires_in":1}',
        b'{"access_token":"a\\r\\nb","granted_at":1,"expires_in":1}',
        b'{"access_token":"t","granted_at":"x","expires_in":1}',
        b'{"access_token":"t","granted_at":null,"expires_in":1}',
        b"x" * 100_000,
    ],
)
def test_a_damaged_file_is_no_token_and_is_written_anew(tmp_path: Path, content: bytes) -> None:
    file = file_in(tmp_path)
    file.save(TOKEN)
    file.path.write_bytes(content)
    assert file.load() is None
    file.save(TOKEN)
    assert file.load() == TOKEN


@pytest.mark.parametrize("open_to", [0o640, 0o604, 0o660, 0o620])
def test_a_file_that_others_could_read_or_write_is_not_trusted(tmp_path: Path, open_to: int) -> None:
    file = file_in(tmp_path)
    file.save(TOKEN)
    file.path.chmod(open_to)
    assert file.load() is None
    file.save(TOKEN)
    assert mode(file.path) == 0o600
    assert file.load() == TOKEN


def test_a_link_or_a_pipe_in_its_place_is_not_followed_or_waited_for(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    file.save(TOKEN)
    elsewhere = tmp_path / "elsewhere"
    file.path.rename(elsewhere)
    file.path.symlink_to(elsewhere)
    assert file.load() is None
    file.path.unlink()
    os.mkfifo(file.path, 0o600)
    assert file.load() is None
    file.save(TOKEN)
    assert file.load() == TOKEN


def test_a_temporary_file_left_by_a_process_that_died_is_no_obstacle(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    (tmp_path / f".{file.path.name}.{os.getpid()}").write_text("left")
    file.save(TOKEN)
    assert file.load() == TOKEN


async def test_a_folder_that_cannot_be_used_costs_one_warning_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file = file_in(tmp_path / "file" / "cache")
    with capture_logs() as logs:
        async with file.locked():
            file.save(TOKEN)
            assert file.load() is None
        file.save(TOKEN)
    assert [log["event"] for log in logs] == ["token_cache_unwritable"]
    assert "S3CR3T" not in str(logs)


async def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with capture_logs() as logs:
        file_in(folder).save(TOKEN)
    assert [log["event"] for log in logs] == ["token_cache_unwritable"]
    assert list(folder.iterdir()) == []


async def test_the_lock_is_waited_for_without_blocking_and_not_for_ever(tmp_path: Path) -> None:
    time = FakeTime()
    file = file_in(tmp_path, time=time)
    holder = FileLock(file.path.with_suffix(".lock"), thread_local=False)
    with holder, capture_logs() as logs:
        async with file.locked():
            assert sum(time.slept) == pytest.approx(LOCK_PATIENCE_S, abs=0.2)
    assert [log["event"] for log in logs] == ["token_cache_locked"]

    time.slept.clear()
    with holder:
        real_sleep = time.sleep

        async def let_go(seconds: float) -> None:
            holder.release()
            await real_sleep(seconds)

        file._sleep = let_go
        async with file.locked():
            assert len(time.slept) == 1
            with pytest.raises(TimeoutError):
                FileLock(file.path.with_suffix(".lock"), thread_local=False).acquire(blocking=False)
    FileLock(file.path.with_suffix(".lock"), thread_local=False).acquire(blocking=False)


def test_the_lock_of_a_process_that_died_is_free(tmp_path: Path) -> None:
    lock = file_in(tmp_path).path.with_suffix(".lock")
    code = "import os, sys, filelock; filelock.FileLock(sys.argv[1]).acquire(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code, str(lock)], check=False).returncode == 9  # noqa: S603 - our own code
    FileLock(lock, thread_local=False).acquire(blocking=False)


@pytest.mark.parametrize("value", ["", "a b", "a\r\nX: y", "ü", "a\x00", "x" * 8001, 7, None, ["t"]])
def test_what_cannot_stand_in_a_header_is_no_token(value: object) -> None:
    assert not is_token(value)
    if isinstance(value, str):
        with pytest.raises(ValueError, match="not an access token"):
            Token(value=value, granted_at=0.0, expires_in=1.0)


def test_a_tokens_value_is_not_in_its_repr() -> None:
    assert "S3CR3T" not in repr(TOKEN)
    assert TOKEN.expires_at == 1_750_014_400.5
