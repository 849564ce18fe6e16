"""What a developer writes in an hour: read the file with pandas, gather all posts behind a semaphore, save the results.

It is a fair first version, and most scripts for this API look like it: one session, ten at a time, every answer read
as JSON. A crash loses every result, running it again sends everything again, and all coroutines exist from the start.

    python -m benchmarks.peers.one_hour http://127.0.0.1:8180 jobs.csv results.csv
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Hashable
from typing import Any

import aiohttp
import pandas as pd


async def send(
    session: aiohttp.ClientSession, semaphore: asyncio.Semaphore, base_url: str, job: dict[Hashable, Any]
) -> dict[Hashable, Any]:
    """Post one job; its row of the results."""
    body = {key: value for key, value in job.items() if key not in ("publishedMessageId", "store") and pd.notna(value)}
    url = f"{base_url}/rest/channels/sms/publishedmessages/{job['publishedMessageId']}/sendjobs"
    async with semaphore, session.post(url, json=body) as response:
        answer = await response.json()
        return {**job, "status": response.status, "id": answer.get("data", {}).get("id")}


async def main(base_url: str, source: str, results: str) -> None:
    """Send all rows of `source`, then write `results`."""
    jobs = [row.to_dict() for _, row in pd.read_csv(source).iterrows()]
    semaphore = asyncio.Semaphore(10)
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{base_url}/oauth/token", data={"grant_type": "refresh_token"}) as response:
            token = (await response.json())["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        rows = await asyncio.gather(*(send(session, semaphore, base_url, job) for job in jobs))
    pd.DataFrame(rows).to_csv(results, index=False)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
