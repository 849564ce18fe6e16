"""The same posts through more and more of the runner, so that each layer's own cost can be told.

    python -m benchmarks.drivers.layers post   http://127.0.0.1:8180 jobs.csv                 aiohttp alone
    python -m benchmarks.drivers.layers client http://127.0.0.1:8180 jobs.csv                 + slots, the answer read
    python -m benchmarks.drivers.layers loop   http://127.0.0.1:8180 jobs.csv                 + worklist, decisions
    python -m benchmarks.drivers.layers ledger http://127.0.0.1:8180 jobs.csv new.ledger.db   + the ledger, on disk

Prints the seconds of processor time that the sending took; reading the file and all imports come before.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import aiohttp
import structlog
from yarl import URL

from benchmarks.drivers.pass_over import ORG, stage
from runner.batch.loop import Api, Loop, Plan, Progress
from runner.batch.run import Folders, in_event_loop, run_batch
from runner.batch.stops import Breakers
from runner.campaign.bodies import send_body, send_path
from runner.campaign.client import CampaignClient
from runner.campaign.slots import Slots
from runner.jobs.checks import CheckRules, FileCheck
from runner.ledger.entries import ClaimedJob, JobResult
from runner.ledger.store import Ledger
from runner.model import SendJob
from runner.settings import Sending, Settings

WORKERS: Final = 10
SECRETS: Final = ("client_id", "client_secret", "refresh_token")
TOKEN: Final = "stub-token"  # noqa: S105 - the stub takes any


class BooksInMemory:
    """Hands jobs out and forgets results."""

    def __init__(self, jobs: Sequence[SendJob]) -> None:
        self._jobs = jobs
        self._next = 0

    async def turn(self, results: Sequence[JobResult], claim: int) -> list[ClaimedJob]:  # noqa: ARG002 - the ledger's
        """The next jobs; a moment later, as from another thread."""
        await asyncio.sleep(0)
        first, self._next = self._next, min(self._next + claim, len(self._jobs))
        return [
            ClaimedJob(job_id=n, row=n, job=self._jobs[n], attempts=0, first_attempt_at=None, doubted=False)
            for n in range(first, self._next)
        ]


class OneToken:
    """The same token for ever."""

    async def get(self) -> str:
        """It."""
        return TOKEN

    async def renew(self, refused: str) -> str:
        """It again."""
        return refused


async def post(jobs: Sequence[SendJob], base_url: str) -> None:
    """Nothing but aiohttp."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    urls = {job.published_message_id: URL(base_url + send_path(job.published_message_id)) for job in jobs}
    async with aiohttp.ClientSession() as session:

        async def send(job: SendJob) -> None:
            url = urls[job.published_message_id]
            async with session.post(url, data=send_body(job), headers=headers) as response:
                await response.read()

        await by_ten(jobs, send)


async def client(jobs: Sequence[SendJob], base_url: str) -> None:
    """The client, in slots."""
    async with campaign_client(base_url, Slots.in_process(WORKERS)) as campaign:

        async def send(job: SendJob) -> None:
            await campaign.send(job, token=TOKEN)

        await by_ten(jobs, send)


async def loop(jobs: Sequence[SendJob], base_url: str) -> None:
    """The send loop, with books that are none."""
    slots, sending = Slots.in_process(WORKERS), Sending()
    async with campaign_client(base_url, slots) as campaign:
        await Loop(
            Api(client=campaign, tokens=OneToken(), slots=slots, published=nothing_published),
            BooksInMemory(jobs),
            Plan(sending=sending),
            breakers=Breakers(max_rejected=sending.max_rejected, started_at=asyncio.get_running_loop().time()),
            wall_ms=lambda: int(time.time() * 1000),
            rng=Random(0),  # noqa: S311 - jitter
            progress=Progress(),
        ).run()


async def ledger(path: Path, batch_id: int, base_url: str) -> None:
    """A run as `send` makes it, after staging and before the results."""
    settings = Settings.model_validate(
        {"org": ORG, "base_url": base_url, "ledger": path, **dict.fromkeys(SECRETS, "bench")}
    )
    with TemporaryDirectory(dir=path.parent) as folder, Ledger.open(path, org=ORG) as opened, opened.lock_for_run():
        folders = Folders(slots=Path(folder) / "slots", tokens=Path(folder) / "tokens")
        await run_batch(opened, batch_id, settings=settings, folders=folders)


async def by_ten(jobs: Sequence[SendJob], send: Callable[[SendJob], Awaitable[None]]) -> None:
    """All jobs, ten at a time."""
    waiting = iter(jobs)

    async def work(waiting: Iterator[SendJob]) -> None:
        for job in waiting:
            await send(job)

    await asyncio.gather(*(work(waiting) for _ in range(WORKERS)))


def campaign_client(base_url: str, slots: Slots) -> CampaignClient:
    """As a run makes it."""
    return CampaignClient(base_url=base_url, slots=slots, timeout_s=30.0, settle_s=30.0, user_agent="bench")


async def nothing_published() -> frozenset[str]:
    """Nobody asks."""
    return frozenset()


def main(layer: str, base_url: str, source: str, ledger_path: str = "") -> None:
    """Send every job of the file through one layer; the seconds it took."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    path, books = Path(source), Path(ledger_path)
    jobs: list[SendJob] = []
    batch_id = 0
    if layer == "ledger":
        with Ledger.open(books, org=ORG) as made:
            batch_id = stage(path, made)
    else:
        for chunk in FileCheck(path, rules=CheckRules(now=datetime.now(UTC))).chunks():
            jobs += chunk.jobs()
    gc.freeze()  # as the command does, see `runner.console.loading`
    began = time.process_time()
    match layer:
        case "post":
            in_event_loop(lambda: post(jobs, base_url))
        case "client":
            in_event_loop(lambda: client(jobs, base_url))
        case "loop":
            in_event_loop(lambda: loop(jobs, base_url))
        case "ledger":
            in_event_loop(lambda: ledger(books, batch_id, base_url))
        case _:
            raise ValueError(f"no layer is called {layer}")
    sys.stdout.write(f"{time.process_time() - began}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
