"""The access token on disk, so that a scheduled runner does not ask for one at every start.

The vendor wants a token to be used for all calls of its first three hours, and refuses those who ask too often. The
file is readable by its owner alone, written beside itself and renamed, and guarded by a lock file: of several
processes that need a token at the same time, one asks and the others read what it got. The cache is a convenience:
a file that is damaged, foreign or open to others is ignored and written anew, and a folder that cannot be written
costs a warning and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson
import structlog
from filelock import FileLock, Timeout

LOCK_POLL_S: Final = 0.1
LOCK_PATIENCE_S: Final = 90.0
"""Seconds to wait for another process that is asking for a token; then we ask without the lock."""
_FILE_LIMIT: Final = 64 * 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An access token and its time."""

    value: str = field(repr=False)
    granted_at: float
    """Seconds since the epoch, when we were given it."""
    expires_in: float
    """Seconds it lives from then on; the API documents 14,400."""

    def __post_init__(self) -> None:
        if not is_token(self.value):
            raise ValueError("not an access token")

    @property
    def expires_at(self) -> float:
        """Seconds since the epoch."""
        return self.granted_at + self.expires_in


def is_token(value: object) -> bool:
    """Whether `value` can stand in an Authorization header: visible ASCII characters only, at most 8,000."""
    return isinstance(value, str) and 0 < len(value) <= 8000 and all("!" <= c <= "~" for c in value)  # noqa: PLR2004


class TokenFile:
    """The cached token of one org and one set of credentials.

    Args:
        folder: made with mode 0700 when it is not there.
        base_url: with the credentials it makes the file's name, so that a token is never taken for another's.
        client_id: as above.
        refresh_token: as above; only a digest of the three is in the name.
        sleep: between two looks at the lock.
    """

    def __init__(
        self,
        folder: Path,
        *,
        base_url: str,
        client_id: str,
        refresh_token: str,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        secret = hashlib.sha256(refresh_token.encode()).hexdigest()
        name = hashlib.sha256(f"{base_url}\n{client_id}\n{secret}".encode()).hexdigest()[:32]
        self.path: Final = folder / f"token-{name}.json"
        self._sleep = sleep
        self._warned = False

    def load(self) -> Token | None:
        """The token on disk, whatever its age; None when there is none that can be trusted. Never raises."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            if not _is_ours_alone(os.fstat(handle)):
                return None
            content = os.read(handle, _FILE_LIMIT)
        except OSError:
            return None
        finally:
            os.close(handle)
        try:
            fields = orjson.loads(content)
            return Token(
                value=fields["access_token"],
                granted_at=float(fields["granted_at"]),
                expires_in=float(fields["expires_in"]),
            )
        except (ValueError, TypeError, LookupError):  # orjson.JSONDecodeError is a ValueError
            return None

    def save(self, token: Token) -> None:
        """Write the token durably, all or nothing; a failure is logged once and is no error."""
        content = orjson.dumps(
            {"access_token": token.value, "granted_at": token.granted_at, "expires_in": token.expires_in}
        )
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self._make_folder()
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()  # left by a process that died; O_EXCL below needs it gone
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, content)
                os.fsync(handle)
            finally:
                os.close(handle)
            temporary.replace(self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            self._warn(error)

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the lock beside the file, waiting for other processes at most `LOCK_PATIENCE_S`.

        Where no lock can be had, the block runs without it: at worst the token is asked for twice.
        """
        lock = None
        waited_s = 0.0
        try:
            self._make_folder()
            lock = FileLock(self.path.with_suffix(".lock"), mode=0o600, thread_local=False)
            while True:
                try:
                    lock.acquire(blocking=False)
                    break
                except Timeout:
                    if waited_s >= LOCK_PATIENCE_S:
                        log.warning("token_cache_locked", waited_s=waited_s)
                        break
                await self._sleep(LOCK_POLL_S)
                waited_s += LOCK_POLL_S
        except (OSError, NotImplementedError) as error:
            self._warn(error)
        try:
            yield
        finally:
            if lock is not None and lock.is_locked:
                lock.release()

    def _make_folder(self) -> None:
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
            raise PermissionError(f"others may write to {folder}")

    def _warn(self, error: BaseException) -> None:
        if not self._warned:
            self._warned = True
            reason = getattr(error, "strerror", None) or str(error)
            log.warning("token_cache_unwritable", folder=str(self.path.parent), reason=reason)


def _is_ours_alone(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & _OTHERS


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
