"""A file through a storm: runs killed at moments the dice pick, started again until everything is sent.

A moment is either so many requests after the start of a run, which hits the middle of sending, or so many
milliseconds, which hits everything else: the start, the staging, the token's request, the wait for settle, the end.
When the file is done before all kills are spent, rows are added to it: a run over an edited file is one to be killed
as well.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from random import Random
from typing import Final

from chaos.chaos_ground import Ground, Run, broken_promises, job_names

from runner.errors import ExitCode
from runner.sandbox.faults import parse_faults
from runner.sandbox.options import SandboxOptions
from runner.sandbox.thread import SandboxThread

LATENCY_S: Final = 0.02
TIMEOUT_S: Final = 0.6
LATE_S: Final = 0.9
SETTLE_S: Final = 0.8
"""More than what `LATE_S` leaves after `TIMEOUT_S`: by then a request that was given up on is over at the server."""
NEXT_REQUEST_S: Final = 4.0
"""How long a kill waits for the request it is meant to follow; longer than a dead run's slots stay taken."""
LATEST_START_MS: Final = 900
ROWS_MORE: Final = 40
MOST_RUNS_PER_KILL: Final = 6

LOST: Final = "reset_before=0.02 reset_during=0.02 reset_after=0.02 late_answer=0.01 drip=0.01"
BROKEN: Final = (
    "500_before=0.01 500_after=0.01 502_before=0.01 502_after=0.01 503_before=0.01 503_after=0.01 504_before=0.01 "
    "504_after=0.01 html_error=0.01 redirect=0.01 empty_201=0.01 cut_201=0.01 garbled_201=0.01 endless_body=0.005 "
    "odd_charset=0.01 huge_headers=0.01"
)
TOKENS: Final = "expire_token@40,160 unauthorized=0.005 token_500@2 throttle=0.01"
WEATHER: Final = {
    "calm": "",
    "answers get lost": LOST,
    "the server breaks": BROKEN,
    "all at once": f"{LOST} {BROKEN} {TOKENS}",
}
"""Name -> faults of the server, in the sandbox's grammar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """What came of it."""

    rows: int
    runs: int
    kills: int
    requests: int
    faults: int
    most_at_once: int
    refused: int
    broken: tuple[str, ...]
    """Promises that were broken, a sentence each."""


def through_a_storm(ground: Ground, *, weather: str, rows: int, kills: int, seed: int) -> Storm:
    """Send a file of `rows` rows, killing runs `kills` times on the way.

    Args:
        ground: an empty one.
        weather: a key of `WEATHER`.
        rows: rows of the file to begin with.
        kills: how many runs are killed while they are at work.
        seed: of the dice and of the server's faults. Moments are those of a real machine: a seed says where a kill
            is aimed at, not what it hits.
    """
    dice = Random(seed)  # noqa: S311 - no secret
    options = SandboxOptions(
        latency_s=LATENCY_S,
        jitter_s=LATENCY_S / 2,
        late_s=LATE_S,
        name_check="end",
        faults=parse_faults([WEATHER[weather]]),
        seed=seed,
    )
    killed = runs = 0
    sandbox = SandboxThread(options)
    with sandbox as url:
        ground.configure(url, timeout_seconds=TIMEOUT_S, settle_seconds=SETTLE_S, max_attempts=20)
        file = ground.jobs(rows)
        command = ["send", str(file), "--yes"]
        while True:
            runs += 1
            assert runs < MOST_RUNS_PER_KILL * (kills + 2), f"seed {seed}: the file is not done after {runs} runs"
            run = ground.start(*command)
            if killed < kills and _killed(run, sandbox, dice, requests=2 * rows // (kills + 1)):
                killed += 1
            else:
                said = run.end()
                if said.code == ExitCode.ALL_SENT and killed == kills:
                    break
                unfinished = (ExitCode.ALL_SENT, ExitCode.STOPPED_EARLY, ExitCode.SOME_IN_DOUBT)
                assert said.code in unfinished, f"seed {seed}: a run ended with {said}"
            if not ground.is_staged():
                rows += ROWS_MORE if ground.ledger.exists() and said_done(ground, rows) else 0
                file = ground.jobs(rows)
                command = ["send", str(file), "--yes"]
            else:
                command = dice.choice([["send", str(file), "--yes"], ["resume", "--yes"]])
        broken = broken_promises(ground, sandbox, job_names(rows))
        stats = sandbox.stats()
    return Storm(
        rows=rows,
        runs=runs,
        kills=killed,
        requests=sum(stats.requests.values()),
        faults=sum(stats.faults.values()),
        most_at_once=stats.max_concurrent,
        refused=stats.refused,
        broken=tuple(broken),
    )


def said_done(ground: Ground, rows: int) -> bool:
    """Whether the newest batch holds all rows, and all as sent."""
    try:
        return ground.balance().sent == rows
    except AssertionError:
        return False  # killed before anything was staged


def _killed(run: Run, sandbox: SandboxThread, dice: Random, *, requests: int) -> bool:
    """Kill the run at a moment of the dice; False when it was over before."""
    if dice.random() < 0.6:
        aim = sandbox.stats().requests["sendjobs"] + dice.randint(1, max(1, requests))
        latest = time.monotonic() + NEXT_REQUEST_S
        while not run.ended and time.monotonic() < latest:
            with contextlib.suppress(TimeoutError):
                sandbox.until(lambda stats: stats.requests["sendjobs"] >= aim, within_s=0.1)
                break
    else:
        run.wait(dice.uniform(0, LATEST_START_MS) / 1000)
    return run.kill()
