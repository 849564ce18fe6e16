"""Reasons to stop a run before its end: signals, breakers, thresholds, and what each means for the operator.

A stop is a value. The first asks the loop to finish what is in flight and leave the rest pending; a second signal
asks it to leave at once. Neither touches the ledger: that is the bookkeeper's, whom no stop reaches.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from runner.batch.decide import Settle, Step
from runner.errors import ExitCode
from runner.model import JobState, NotConnected, Outcome, Scenario
from runner.settings import MaxRejected

SAME_REJECTION_FROM_THE_START: Final = 20
"""So many first outcomes with one and the same rejection stop the run: the file or the org is set up wrong."""
USER_REFUSED_IN_A_ROW: Final = 20
"""So many 403 that speak of the user, with no acceptance between them, stop a run that has had acceptances: their
message is published, yet the user can send others, so one alone says little. With nothing accepted the first stops."""
NOTHING_ACCEPTED_S: Final = 900.0
"""Seconds of failing attempts without one acceptance that stop the run."""
NEVER_CONNECTED_S: Final = 60.0
"""The same for a run that has had no connection at all: the address or the network is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why a run ends early and what the operator can do."""

    code: str
    """Stable name: interrupted, terminated, token_refused, user_not_sms_enabled, same_rejection, max_rejected,
    nothing_accepted, never_connected, too_many_in_doubt, token_unavailable, ledger_not_writable, limit_reached."""
    reason: str
    remedy: str
    exit_code: ExitCode = ExitCode.STOPPED_EARLY


INTERRUPTED: Final = Stop(
    code="interrupted",
    reason="Interrupted by Ctrl-C.",
    remedy="Run `sms-runner resume` to go on.",
    exit_code=ExitCode.INTERRUPTED,
)
TERMINATED: Final = Stop(
    code="terminated",
    reason="Terminated by a signal.",
    remedy="Run `sms-runner resume` to go on.",
    exit_code=ExitCode.TERMINATED,
)
SIGNALS: Final = frozenset({INTERRUPTED.code, TERMINATED.code})
TOKEN_REFUSED: Final = Stop(
    code="token_refused",
    reason="The API refuses the access token, even a new one.",
    remedy="Check that the client and refresh token belong to this org and that the user may use the API, then resume.",
)
USER_NOT_SMS_ENABLED: Final = Stop(
    code="user_not_sms_enabled",
    reason="The calling user is not SMS enabled, so every send would be refused.",
    remedy="Have an administrator enable SMS for the user of the refresh token, then `sms-runner retry`.",
)
TOO_MANY_IN_DOUBT: Final = Stop(
    code="too_many_in_doubt",
    reason="256 jobs are in doubt, the most there may ever be.",
    remedy="Wait until the API answers normally again, then resume: each is tried again under its own name.",
)
LIMIT_REACHED: Final = Stop(
    code="limit_reached",
    reason="The limit of jobs for this run is reached.",
    remedy="Run `sms-runner resume` to go on.",
)


class Breakers:
    """Watches the outcomes of one run and says when it should stop.

    Args:
        max_rejected: the configuration's threshold.
        started_at: seconds on any monotonic clock, the one of `observe`.
    """

    def __init__(self, *, max_rejected: MaxRejected, started_at: float) -> None:
        self._max_rejected = max_rejected
        self._accepted_at = started_at
        self._connected = False
        self._accepted = False
        self._user_refused = 0
        self._settled = 0
        self._rejected = 0
        self._first_rejection: Scenario | None = None
        self._all_same = True

    def observe(self, outcome: Outcome, step: Step, *, now: float) -> Stop | None:
        """Take note of one attempt; a `Stop` when the run should end."""
        self._connected = self._connected or not isinstance(outcome, NotConnected)
        if isinstance(step, Settle) and step.state is not JobState.IN_DOUBT:
            self._settled += 1
            if step.state is JobState.SENT:
                self._accepted_at = now
                self._accepted = True
                self._user_refused = 0
                self._all_same = False
                return None
            return self._rejection(step.scenario)
        return self._failing_for(now - self._accepted_at)

    def _rejection(self, scenario: Scenario | None) -> Stop | None:
        self._rejected += 1
        self._first_rejection = self._first_rejection or scenario
        self._all_same = self._all_same and scenario is self._first_rejection
        if scenario is Scenario.USER_NOT_SMS_ENABLED:
            self._user_refused += 1
            if not self._accepted or self._user_refused >= USER_REFUSED_IN_A_ROW:
                return USER_NOT_SMS_ENABLED
        if self._all_same and self._settled >= SAME_REJECTION_FROM_THE_START:
            return Stop(
                code="same_rejection",
                reason=f"The first {self._settled} outcomes were all the same rejection: {scenario}.",
                remedy="Find the common cause (`sms-runner show`), correct it, then `sms-runner retry`.",
            )
        if self._max_rejected.exceeded(rejected=self._rejected, outcomes=self._settled):
            return Stop(
                code="max_rejected",
                reason=f"{self._rejected} of {self._settled} outcomes were rejections; max_rejected is "
                f"{self._max_rejected}.",
                remedy="Look at the reasons (`sms-runner show`), correct them, then resume or retry.",
            )
        return None

    def _failing_for(self, seconds: float) -> Stop | None:
        if not self._connected and seconds >= NEVER_CONNECTED_S:
            return Stop(
                code="never_connected",
                reason=f"No connection to the API for {seconds:.0f} s.",
                remedy="Check pod or base_url, the network and the proxy variables, then resume.",
            )
        if seconds >= NOTHING_ACCEPTED_S:
            return Stop(
                code="nothing_accepted",
                reason=f"Nothing was accepted for {seconds / 60:.0f} minutes.",
                remedy="Check the state of the API, then resume.",
            )
        return None


@contextlib.contextmanager
def signals(on_stop: Callable[[Stop], None]) -> Iterator[None]:
    """Hand SIGINT, SIGTERM and SIGHUP to `on_stop`, as often as they come, while the block runs.

    Only in the main thread; elsewhere (a library's caller) signals are the caller's business and nothing is done.
    """
    loop = asyncio.get_running_loop()
    wanted = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
    if hasattr(signal, "SIGHUP"):
        wanted[signal.SIGHUP] = TERMINATED
    before: dict[signal.Signals, Any] = {}
    with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
        for number, stop in wanted.items():
            if number is not signal.SIGINT and signal.getsignal(number) == signal.SIG_IGN:
                continue  # whoever started us wants it ignored: nohup does so with SIGHUP
            handler = signal.getsignal(number)
            loop.add_signal_handler(number, on_stop, stop)
            before[number] = handler
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            if handler is not None:  # None: it was set by no Python code, and cannot be set again
                signal.signal(number, handler)
