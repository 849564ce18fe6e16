"""What can go wrong on the wire, on demand: a table of faults, a grammar to ask for them, and the dice.

Each fault is one way in which a real server, or something between it and the runner, has been seen to fail. What
matters about most of them is on which side of the acceptance they fall: `before`, and the send was not processed;
`after`, and it was, though the answer does not say so. A runner that cannot tell must treat both alike.

Grammar: `KIND=PROBABILITY` plays the fault with that probability at each request of its endpoint; `KIND@N[,N…]`
plays it at the N-th admitted request of its endpoint, from 1; `seed=NUMBER` fixes the dice. The dice of a request
depend on the seed, its number and the kind alone, not on time or on what else is going on, so a seed replays.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from runner.errors import ConfigurationError
from runner.sandbox.traffic import Endpoint


class FaultKind(StrEnum):
    """The names of the faults; what each does stands in `FAULTS`."""

    RESET_BEFORE = "reset_before"
    RESET_DURING = "reset_during"
    RESET_AFTER = "reset_after"
    LATE_ANSWER = "late_answer"
    ERROR_500_BEFORE = "500_before"
    ERROR_502_BEFORE = "502_before"
    ERROR_503_BEFORE = "503_before"
    ERROR_504_BEFORE = "504_before"
    ERROR_500_AFTER = "500_after"
    ERROR_502_AFTER = "502_after"
    ERROR_503_AFTER = "503_after"
    ERROR_504_AFTER = "504_after"
    EMPTY_201 = "empty_201"
    CUT_201 = "cut_201"
    GARBLED_201 = "garbled_201"
    DRIP = "drip"
    HUGE_HEADERS = "huge_headers"
    ODD_CHARSET = "odd_charset"
    HTML_ERROR = "html_error"
    ENDLESS_BODY = "endless_body"
    REDIRECT = "redirect"
    THROTTLE = "throttle"
    UNAUTHORIZED = "unauthorized"
    EXPIRE_TOKEN = "expire_token"  # noqa: S105 - the name of a fault, no secret
    NEXT_PAGE_ELSEWHERE = "next_page_elsewhere"
    TOKEN_500 = "token_500"  # noqa: S105 - the name of a fault, no secret
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - the name of a fault, no secret
    TOKEN_SLOW = "token_slow"  # noqa: S105 - the name of a fault, no secret
    TOKEN_LIMITS = "token_limits"  # noqa: S105 - the name of a fault, no secret


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultNote:
    """What a fault is: where it plays, whether a sound send is accepted all the same, and one sentence about it."""

    endpoint: Endpoint = Endpoint.SEND
    accepted: bool
    meaning: str


def _before(status: int) -> FaultNote:
    return FaultNote(accepted=False, meaning=f"Not processed; answered with {status}.")


def _after(status: int) -> FaultNote:
    return FaultNote(accepted=True, meaning=f"Accepted, and yet answered with {status}.")


def _token(meaning: str) -> FaultNote:
    return FaultNote(endpoint=Endpoint.TOKEN, accepted=False, meaning=meaning)


FAULTS: Final[dict[FaultKind, FaultNote]] = {
    FaultKind.RESET_BEFORE: FaultNote(accepted=False, meaning="The connection is reset before anything is processed."),
    FaultKind.RESET_DURING: FaultNote(
        accepted=True, meaning="The connection is reset at once, but the server works on and accepts at the end."
    ),
    FaultKind.RESET_AFTER: FaultNote(
        accepted=True, meaning="Accepted, then the connection is reset without an answer."
    ),
    FaultKind.LATE_ANSWER: FaultNote(accepted=True, meaning="Accepted, but the answer comes after the late time only."),
    FaultKind.ERROR_500_BEFORE: _before(500),
    FaultKind.ERROR_502_BEFORE: _before(502),
    FaultKind.ERROR_503_BEFORE: _before(503),
    FaultKind.ERROR_504_BEFORE: _before(504),
    FaultKind.ERROR_500_AFTER: _after(500),
    FaultKind.ERROR_502_AFTER: _after(502),
    FaultKind.ERROR_503_AFTER: _after(503),
    FaultKind.ERROR_504_AFTER: _after(504),
    FaultKind.EMPTY_201: FaultNote(accepted=True, meaning="Accepted; the 201 has no body."),
    FaultKind.CUT_201: FaultNote(
        accepted=True, meaning="Accepted; the 201's body breaks off half way and the connection closes."
    ),
    FaultKind.GARBLED_201: FaultNote(accepted=True, meaning="Accepted; the 201's body is bytes that nobody can read."),
    FaultKind.DRIP: FaultNote(
        accepted=True, meaning="Accepted; the answer drips a byte at a time and takes the late time."
    ),
    FaultKind.HUGE_HEADERS: FaultNote(
        accepted=True, meaning="Accepted; the answer has a header of 256 KiB, more than clients take."
    ),
    FaultKind.ODD_CHARSET: FaultNote(accepted=True, meaning="Accepted; the 201 names a charset that does not exist."),
    FaultKind.HTML_ERROR: FaultNote(accepted=False, meaning="Not processed; answered with 502 and a gateway's page."),
    FaultKind.ENDLESS_BODY: FaultNote(accepted=False, meaning="Not processed; a 500 whose body never ends."),
    FaultKind.REDIRECT: FaultNote(accepted=False, meaning="Not processed; a 302 to another host."),
    FaultKind.THROTTLE: FaultNote(accepted=False, meaning="Not processed; a 429, half of them with Retry-After."),
    FaultKind.UNAUTHORIZED: FaultNote(accepted=False, meaning="Not processed; a 401 although the token is good."),
    FaultKind.EXPIRE_TOKEN: FaultNote(
        accepted=False, meaning="Every token granted so far stops working, this request's included: it gets a 401."
    ),
    FaultKind.NEXT_PAGE_ELSEWHERE: FaultNote(
        endpoint=Endpoint.LIST, accepted=False, meaning="The page of published messages points to another host."
    ),
    FaultKind.TOKEN_500: _token("The token endpoint answers with 500."),
    FaultKind.TOKEN_REFUSED: _token("The token endpoint refuses the refresh token."),
    FaultKind.TOKEN_SLOW: _token("The token is granted after the late time only."),
    FaultKind.TOKEN_LIMITS: _token('The token endpoint answers "Access token limits exceeded".'),
}
"""Every fault there is, in the order of the documentation and of `--help`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """When one kind of fault is played: at certain requests, by chance, or both."""

    kind: FaultKind
    probability: float = 0.0
    """0 to 1, at each admitted request of the kind's endpoint."""
    numbers: frozenset[int] = frozenset()
    """Admitted requests of the kind's endpoint, from 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigurationError(f"The probability of {self.kind} must be from 0 to 1, not {self.probability}.")
        if any(number < 1 for number in self.numbers):
            raise ConfigurationError(f"The requests that {self.kind} is played at are counted from 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """All that is to go wrong. Without rules nothing does."""

    rules: tuple[FaultRule, ...] = ()
    seed: int | None = None
    """None: the seed of the sandbox's options."""

    def play(self, endpoint: Endpoint, number: int, *, seed: int) -> FaultKind | None:
        """The fault to play at the `number`-th request of `endpoint`; `seed` is used where this has none of its own.

        A rule that names the request goes before chance; among equals the first one wins.
        """
        here = [rule for rule in self.rules if FAULTS[rule.kind].endpoint is endpoint]
        for rule in here:
            if number in rule.numbers:
                return rule.kind
        chosen = seed if self.seed is None else self.seed
        for rule in here:
            if rule.probability and chance(chosen, number, rule.kind) < rule.probability:
                return rule.kind
        return None


def chance(seed: int, number: int, what: str) -> float:
    """A number from 0 up to 1 that depends on its arguments alone."""
    return random.Random(f"{seed}:{number}:{what}").random()  # noqa: S311 - dice that must replay, no secret


_SPEC: Final = re.compile(r"(?P<name>[0-9a-z_]+)(?:=(?P<value>[^@=]+)|@(?P<numbers>[0-9]+(?:,[0-9]+)*))")


def parse_faults(specs: Iterable[str]) -> Faults:
    """Faults as written on a command line: each of `specs` holds one or more, separated by blanks.

    Raises:
        ConfigurationError: a spec is not understood; the remedy lists the grammar and every kind.

    """
    rules: list[FaultRule] = []
    seed: int | None = None
    for spec in (part for given in specs for part in given.split()):
        match = _SPEC.fullmatch(spec)
        if match is None:
            raise _not_understood(spec)
        name, value, numbers = match["name"], match["value"], match["numbers"]
        if name == "seed" and value is not None:
            seed = _whole_number(spec, value)
            continue
        try:
            kind = FaultKind(name)
            probability = 0.0 if value is None else float(value)
        except ValueError as error:
            raise _not_understood(spec) from error
        chosen = frozenset(int(number) for number in numbers.split(",")) if numbers else frozenset[int]()
        rules.append(FaultRule(kind=kind, probability=probability, numbers=chosen))
    return Faults(rules=tuple(rules), seed=seed)


def _whole_number(spec: str, value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise _not_understood(spec) from error


def _not_understood(spec: str) -> ConfigurationError:
    return ConfigurationError(
        f"The fault {spec!r} is not understood.",
        remedy=(
            "Write KIND=PROBABILITY, KIND@N[,N…] or seed=NUMBER. The kinds are: "
            f"{', '.join(kind.value for kind in FaultKind)}."
        ),
    )
