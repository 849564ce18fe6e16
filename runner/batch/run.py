"""One run over one batch, from the locks to the last sign of life: who opens what, in which order, and who closes it.

The order matters. The ledger's run lock is held by the caller before anything is read; the slots come before the
first request; a token is asked for only when there is something to send, so a file that is sent already costs no
request at all. Whatever happens, the ledger learns how the run ended, unless the process is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

import anyio
import platformdirs
import structlog

from runner.batch.books import ThreadedBooks
from runner.batch.loop import Api, Loop, Plan, Progress
from runner.batch.published import PublishedIds
from runner.batch.stops import LIMIT_REACHED, SIGNALS, Breakers, Stop, signals
from runner.campaign.client import CampaignClient
from runner.campaign.pods import base_url_of
from runner.campaign.slotlocks import OrgSlotLocks
from runner.campaign.slots import Slots
from runner.campaign.tokens import Tokens
from runner.errors import ExitCode
from runner.ledger.entries import ClaimedJob, DoubtfulJob, ScenarioCount
from runner.ledger.store import Ledger
from runner.model import Balance
from runner.settings import Settings

APP: Final = "acoustic-sms-runner"
LAST_SIGN_S: Final = 2.0
"""How long before its death a run may have given its last sign of life in the ledger: a beat, and a slow disk."""

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where a run keeps what outlives it beside the ledger."""

    slots: Path
    """Lock files by which all runs of an org on this machine share its ten requests."""
    tokens: Path
    """Access tokens, so that not every start asks for a new one."""

    @classmethod
    def of_user(cls) -> Folders:
        """The system's places for this user's state and cache (XDG_STATE_HOME and XDG_CACHE_HOME on Linux)."""
        return cls(
            slots=platformdirs.user_state_path(APP) / "slots", tokens=platformdirs.user_cache_path(APP) / "tokens"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A batch after a run, read back from the ledger on disk."""

    batch_id: int
    name: str
    balance: Balance
    scenarios: tuple[ScenarioCount, ...]
    stopped: Stop | None
    """Why the run ended early; None: it went to its end."""
    attempts: int
    """Requests this run made for jobs."""
    most_at_once: int
    """Most slots in use at one moment of this run."""
    seconds: float
    """How long the run took."""

    @property
    def exit_code(self) -> ExitCode:
        """What the process should say; see `verdict`."""
        return verdict(self.balance, self.stopped)


def verdict(balance: Balance, stopped: Stop | None) -> ExitCode:
    """The exit code for a batch after a run: 0 only when every row was sent."""
    unsettled = balance.pending + balance.in_doubt
    if stopped is not None and stopped.code in SIGNALS and unsettled:
        return stopped.exit_code
    if balance.pending:
        return ExitCode.STOPPED_EARLY
    if balance.in_doubt:
        return ExitCode.SOME_IN_DOUBT
    if balance.rejected or balance.invalid:
        return ExitCode.SOME_NOT_SENT
    return ExitCode.ALL_SENT


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgApi(Api):
    """An org's API over the network, whose published messages can be looked at as well."""

    published: PublishedIds


@dataclass(slots=True, kw_only=True)
class Live:
    """A run as it can be watched while it is going on."""

    progress: Progress = field(default_factory=Progress)
    slots: Slots | None = None
    before: Balance | None = None
    """The books when the run began; set by a caller who has counted them already, else by the run."""


def in_event_loop(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main` in an event loop of its own, uvloop's where it is installed, and hand back its result."""
    return anyio.run(main, backend_options={"use_uvloop": find_spec("uvloop") is not None})


async def run_batch(
    ledger: Ledger,
    batch_id: int,
    *,
    settings: Settings,
    folders: Folders,
    limit: int | None = None,
    live: Live | None = None,
    wall: Callable[[], float] = time.time,
    rng: Random | None = None,
) -> Summary:
    """Send what the batch has pending or in doubt; the run lock of `ledger` must be held.

    Args:
        ledger: open for writing.
        batch_id: the batch.
        settings: the org's.
        folders: where slots and tokens are kept.
        limit: most jobs to work on; None: all.
        live: filled in while the run goes on.
        wall: epoch seconds.
        rng: for jitter.

    Raises:
        ConfigurationError: credentials are missing, or the slots' folder cannot be used.
        LedgerWriteError: results could not be written in the end; each was logged.
    """
    live = live if live is not None else Live()
    started = time.monotonic()
    before = live.before = live.before or ledger.balance(batch_id)
    if not before.pending and not before.in_doubt:
        return _summary(ledger, batch_id, live, stopped=None, seconds=0.0)

    sending = settings.sending
    doubts = ledger.doubts(batch_id)
    run_id = ledger.start_run(
        batch_id,
        # Where the setting was lowered meanwhile, the longer time goes on counting for those who are in doubt.
        settle_s=max(sending.settle_seconds, *(doubt.settle_s for doubt in doubts))
        if doubts
        else sending.settle_seconds,
        now_ms=int(wall() * 1000),
    )
    log.info("run_started", run=run_id, batch=batch_id, pending=before.pending, in_doubt=before.in_doubt)
    books = ThreadedBooks(ledger, run_id=run_id, batch_id=batch_id, wall_ms=lambda: int(wall() * 1000))
    stopped: Stop | None = None
    reason = "failed"
    try:
        async with open_api(settings, folders, wall=wall) as api:
            live.slots = api.slots
            loop = Loop(
                api,
                books,
                Plan(
                    sending=sending,
                    doubts=_taken_over(ledger, run_id, doubts, wall()),
                    in_doubt=ledger.jobs_in_doubt(),
                    limit=limit,
                ),
                breakers=Breakers(max_rejected=sending.max_rejected, started_at=anyio.current_time()),
                wall_ms=lambda: int(wall() * 1000),
                rng=rng or Random(),  # noqa: S311 - jitter, no secret
                progress=live.progress,
            )
            with signals(loop.stop):
                await loop.run()
            stopped = loop.stopped
        reason = stopped.code if stopped is not None else "finished"
    finally:
        books.close()
        balance = ledger.balance(batch_id)
        ledger.end_run(run_id, reason=reason, exit_code=int(verdict(balance, stopped)), now_ms=int(wall() * 1000))
        log.info("run_ended", run=run_id, batch=batch_id, reason=reason)
    if stopped is None and limit is not None and balance.pending:
        stopped = LIMIT_REACHED
    return _summary(ledger, batch_id, live, stopped=stopped, seconds=time.monotonic() - started)


@contextlib.asynccontextmanager
async def open_api(
    settings: Settings, folders: Folders, *, wall: Callable[[], float] = time.time
) -> AsyncIterator[OrgApi]:
    """The org's API, with its slots shared with the other runs on this machine, from entering to leaving.

    Raises:
        ConfigurationError: credentials are missing, or the slots' folder cannot be used.
    """
    client_id, client_secret, refresh_token = settings.credentials()
    base_url = base_url_of(pod=settings.pod, base_url=settings.base_url)
    sending = settings.sending
    slots = Slots(sending.max_concurrent, on_change=_note_governor)
    locks = OrgSlotLocks(
        folders.slots / org_folder(settings.org, base_url), slots, settle_s=sending.settle_seconds, wall=wall
    )
    locks.start()
    keeper = asyncio.create_task(locks.keep(), name="slot locks")
    try:
        async with CampaignClient(
            base_url=base_url,
            slots=slots,
            timeout_s=sending.timeout_seconds,
            settle_s=sending.settle_seconds,
            user_agent=f"{APP}/{version(APP)}",
            wall=wall,
        ) as client:
            tokens = Tokens(
                base_url=base_url,
                client_id=client_id.get_secret_value(),
                client_secret=client_secret.get_secret_value(),
                refresh_token=refresh_token.get_secret_value(),
                cache_dir=folders.tokens,
                request=client.request_token,
                wall=wall,
            )
            yield OrgApi(client=client, tokens=tokens, slots=slots, published=PublishedIds(client, tokens))
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        locks.close()


def org_folder(org: str, base_url: str) -> str:
    """A folder's name for the org at this address: readable, and no two orgs share one."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", org)[:40]
    return f"{readable}-{hashlib.sha256(f'{base_url} {org}'.encode()).hexdigest()[:12]}"


def _taken_over(
    ledger: Ledger, run_id: int, doubts: Sequence[DoubtfulJob], now: float
) -> list[tuple[ClaimedJob, float]]:
    """The jobs earlier runs left in doubt, each with the seconds until no request of theirs can be running."""
    due = [
        (doubt.claim, max(0.0, doubt.doubt_since_ms / 1000 + LAST_SIGN_S + doubt.settle_s - now)) for doubt in doubts
    ]
    ledger.adopt(run_id, job_ids=[claim.job_id for claim, _ in due], now_ms=int(now * 1000))
    return due


def _note_governor(in_use: int, usable: int) -> None:
    log.info("slots_changed", in_use=in_use, usable=usable)


def _summary(ledger: Ledger, batch_id: int, live: Live, *, stopped: Stop | None, seconds: float) -> Summary:
    batch = ledger.batch(batch_id)
    return Summary(
        batch_id=batch_id,
        name=batch.name,
        balance=batch.balance,
        scenarios=tuple(ledger.scenarios(batch_id)),
        stopped=stopped,
        attempts=live.progress.attempts,
        most_at_once=live.slots.most_in_use if live.slots is not None else 0,
        seconds=seconds,
    )
