"""What one seed makes of the world: how fast it is, what goes wrong in it, and how often.

All of it is drawn from the seed before anything runs, so a seed is a world. Times are virtual seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from random import Random

from runner.settings import MaxRejected, Sending


class NameCheck(Enum):
    """When the server compares a name with those it has accepted; the API's documents leave it open."""

    AT_ONCE = auto()
    """Compared and taken when the request arrives."""
    AT_THE_END = auto()
    """Compared and taken when the request has been processed."""
    SPLIT = auto()
    """Compared on arrival, taken at the end: two requests of one name that overlap are both accepted."""


class Fault(StrEnum):
    """What may become of a send besides its proper answer."""

    NOT_CONNECTED = "not_connected"
    LOST_ON_THE_WAY = "lost_on_the_way"
    """The connection breaks before the server has read the request."""
    RESET_MEANWHILE = "reset_meanwhile"
    """The connection breaks while the server is at work on the request, which goes on."""
    RESET_AFTER = "reset_after"
    """The connection breaks when the request has been processed."""
    NO_ANSWER = "no_answer"
    """The request is processed in its time, its answer never comes."""
    LATE = "late"
    """The request is still being processed when the client gives it up."""
    ERROR_BEFORE = "error_before"
    """A 5xx, nothing was accepted."""
    ERROR_AFTER = "error_after"
    """A 5xx, though the send was accepted."""
    GATEWAY = "gateway"
    """A 502 or 504 of something in between; the request goes on behind it."""
    EMPTY_CREATED = "empty_created"
    """A 201 without an id."""
    THROTTLED = "throttled"
    REDIRECT = "redirect"


class Sabotage(StrEnum):
    """Promises broken on purpose, to see that the simulation notices."""

    NO_SETTLE = "no_settle"
    """A job in doubt is sent again at once."""
    NO_SETTLE_AFTER_CRASH = "no_settle_after_crash"
    """The same, only for what an earlier run left behind."""
    NO_LINGER = "no_linger"
    """A slot is free as soon as its request is given up on."""
    SLOTS_FORGET_THE_DEAD = "slots_forget_the_dead"
    """The next run takes the slots of a killed one at once."""
    CLAIM_NOT_DURABLE = "claim_not_durable"
    """Jobs are handed out before their claim is on disk."""
    TIMEOUT_IS_FAILURE = "timeout_is_failure"
    """A time-out is told as if nothing had been sent."""
    DOUBT_FORGOTTEN = "doubt_forgotten"
    """A job an earlier run left in doubt is sent as if it were new."""
    RESULT_DROPPED = "result_dropped"
    """Now and then a result does not reach the ledger."""
    DEAF_TO_STOP = "deaf_to_stop"
    """The loop hears of a stop half a second late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddities:
    """One world."""

    jobs: int
    sending: Sending
    name_check: NameCheck
    quickest_s: float
    slowest_s: float
    """Bounds of the time the server works on a request."""
    write_s: float
    """Longest time a turn at the ledger takes, before its commit and after it."""
    faults: dict[Fault, float] = field(default_factory=dict)
    """Probability of each, per request."""
    p_crash: float
    """Probability that a run is killed."""
    p_signal: float
    """Probability that a run gets a signal; a second one follows half of the times."""
    p_limit: float
    p_edit: float
    """Probability, between two runs, that an edited file is staged."""
    p_retry: float
    """The same that rejected jobs are made pending again."""
    p_expiry: float
    """Probability, per request, that the token is found to be at its end."""
    p_token_trouble: float
    """Probability, per token request, that it fails."""
    p_disk_full: float
    """Probability, per turn, that the ledger cannot be written for a while."""
    p_refused: float
    """Share of jobs whose payload the server refuses."""
    p_taken: float
    """Share of jobs whose name somebody else has used already."""
    user_enabled: bool
    wild_runs: int
    """Runs with faults, before the runs without."""
    exact_settle: bool
    """Requests that were given up on end at the last moment the settle time allows, rather than some time before."""


def oddities_of(rng: Random) -> Oddities:
    """Draw a world. One in ten is calm, and each fault is left out of most worlds, so that it can be seen alone."""
    calm = rng.random() < 0.1
    timeout_s = rng.choice((1.0, 2.0, 5.0, 30.0))
    slowest_s = timeout_s * rng.choice((0.05, 0.3, 0.8))

    def rare(most: float, *, share: float = 0.5) -> float:
        return 0.0 if calm or rng.random() > share else rng.uniform(0.0, most)

    return Oddities(
        jobs=rng.choice((1, 4, 8, 15, 30)),
        sending=Sending(
            max_concurrent=rng.choice((1, 2, 5, 10, 10)),
            timeout_seconds=timeout_s,
            settle_seconds=rng.choice((0.5, 2.0, 10.0, 30.0)),
            max_attempts=rng.choice((1, 2, 3, 5)),
            max_rejected=rng.choice((MaxRejected(percent=100), MaxRejected(count=3))),
        ),
        name_check=rng.choice((NameCheck.SPLIT, NameCheck.SPLIT, NameCheck.AT_ONCE, NameCheck.AT_THE_END)),
        quickest_s=slowest_s * rng.choice((0.1, 0.9)),
        slowest_s=slowest_s,
        write_s=rng.choice((0.0, 0.005, 0.05, 0.3)),
        faults={} if calm else {fault: rng.uniform(0.0, 0.3) for fault in Fault if rng.random() < 0.35},
        p_crash=rare(0.9),
        p_signal=rare(0.6),
        p_limit=rare(0.5, share=0.3),
        p_edit=rare(0.6),
        p_retry=rare(0.6),
        p_expiry=rare(0.1, share=0.4),
        p_token_trouble=rare(0.3, share=0.3),
        p_disk_full=rare(0.05, share=0.2),
        p_refused=rare(0.3),
        p_taken=rare(0.2, share=0.3),
        user_enabled=calm or rng.random() > 0.05,
        wild_runs=rng.choice((1, 3, 6)),
        exact_settle=rng.random() < 0.5,
    )
