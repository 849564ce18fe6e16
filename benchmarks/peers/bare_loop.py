"""The least there can be: aiohttp on uvloop, ten workers, the posts and nothing else.

No checks, no ledger, no retry, no result: an answer's body is read and its code looked at. It is what the send loop
would cost if it promised nothing, so it is the measure for what the promises cost.

    python -m benchmarks.peers.bare_loop http://127.0.0.1:8180 jobs.csv
"""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import orjson
import uvloop
from yarl import URL

WORKERS = 10
NUMBERS = frozenset({"contactSourceId", "preBlockingHours"})
LEFT_OUT = frozenset({"publishedMessageId", "store"})
CREATED = 201


def jobs(path: Path, base_url: str) -> Iterator[tuple[URL, bytes]]:
    """Address and body of each job, made as they are needed."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            body = {name: int(cell) if name in NUMBERS else cell for name, cell in row.items() if name not in LEFT_OUT}
            url = f"{base_url}/rest/channels/sms/publishedmessages/{row['publishedMessageId']}/sendjobs"
            yield URL(url, encoded=True), orjson.dumps(body)


async def work(session: aiohttp.ClientSession, waiting: Iterator[tuple[URL, bytes]]) -> None:
    """Post until nothing is waiting."""
    for url, body in waiting:
        async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
            await response.read()
            if response.status != CREATED:
                raise RuntimeError(f"HTTP {response.status}")


async def send_all(base_url: str, path: Path) -> None:
    """Get a token, post all."""
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{base_url}/oauth/token", data={"grant_type": "refresh_token"}) as response:
            token = (await response.json())["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        waiting = jobs(path, base_url)
        await asyncio.gather(*(work(session, waiting) for _ in range(WORKERS)))


if __name__ == "__main__":
    uvloop.run(send_all(sys.argv[1], Path(sys.argv[2])))
