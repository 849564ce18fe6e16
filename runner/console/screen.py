"""What people see: text made safe for a terminal, errors, plans, problems and sums, at 80 columns or more.

Anything that comes from a file or from the API goes through `plain` first: a message name may hold terminal escapes,
and the terminal must show them, not obey them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from runner.errors import RunnerError
from runner.model import Balance, JobState, Problem

if TYPE_CHECKING:  # for annotations only: these rooms are slow to import
    from runner.batch.run import Summary
    from runner.ledger.entries import BatchInfo, ScenarioCount, Share, StagedPlan

SHOWN_VALUE: Final = 60
"""Characters of a cell or a name that are shown."""
FEW: Final = 5
"""Messages and contact sources a plan shows by name."""
UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that a terminal may act on or hide; shown as escapes."""
STATE_STYLE: Final = {
    JobState.SENT: "green",
    JobState.REJECTED: "red",
    JobState.IN_DOUBT: "yellow",
    JobState.PENDING: "cyan",
    JobState.INVALID: "magenta",
}


def plain(text: str, limit: int | None = None) -> str:
    """`text` on one line with everything a terminal could act on written as an escape; cut with … at `limit`."""
    shown = "".join(
        char if unicodedata.category(char) not in UNSAFE else char.encode("unicode_escape", "backslashreplace").decode()
        for char in (text if limit is None else text[: limit + 1])
    )
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def make_console(*, stderr: bool = False) -> Console:
    """A console that takes text as it is: no markup, no emoji, no highlighting of numbers."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=False)


def show_error(console: Console, error: RunnerError) -> None:
    """What happened, the cause, the remedy."""
    console.print(Text.assemble(("error: ", "bold red"), "\n".join(plain(line) for line in error.what.split("\n"))))
    for part in (error.cause, error.remedy):
        if part:
            console.print(Padding(Text("\n".join(plain(line) for line in part.split("\n"))), (0, 0, 0, 2)))


def show_problems(console: Console, problems: Sequence[Problem], *, count: int, file: str) -> None:
    """The first problems of a file, each with its place, value, rule and remedy."""
    for problem in problems:
        where = "the file" if problem.row is None else f"row {problem.row}"
        column = f", {plain(problem.column, SHOWN_VALUE)}" if problem.column else ""
        value = f": {plain(problem.value, SHOWN_VALUE)!r}" if problem.value is not None else ""
        console.print(Text.assemble((f"{where}{column}", "bold"), value))
        console.print(Padding(Text(plain(problem.rule)), (0, 0, 0, 4)))
        console.print(Padding(Text(plain(problem.remedy), style="dim"), (0, 0, 0, 4)))
    if count > len(problems):
        console.print(f"… and {count - len(problems):,} more; --problems FILE writes all of them.")
    if count:
        console.print(Text(f"{plain(file)}: {counted(count, 'problem')}.", style="bold"))


def show_plan(console: Console, plan: StagedPlan, *, org: str, host: str, file: str, seconds: float) -> None:
    """What sending would mean, before anybody is asked."""
    table = _facts()
    table.add_row("org", f"{plain(org)} at {plain(host)}")
    table.add_row("file", plain(file))
    table.add_row("rows", f"{plan.rows:,}")
    known = [
        (plan.new, "new"),
        (plan.edited, "edited since they were staged"),
        (plan.pending, "pending from before"),
        (plan.in_doubt, "in doubt, tried again under the same name"),
        (plan.sent, "sent already, not sent again"),
        (plan.rejected, "rejected before; `retry` sends them again"),
        (plan.invalid, "invalid, skipped"),
    ]
    for number, meaning in known:
        if number:
            table.add_row("", f"{number:>10,}  {meaning}")
    table.add_row("to send", Text(f"{plan.to_send:,}", style="bold"))
    if plan.to_send:
        table.add_row("messages", _shares(plan.by_message, plan.messages))
        if plan.contact_sources:
            table.add_row("contact sources", _shares(plan.by_contact_source, plan.contact_sources))
        if plan.default_audience:
            audience = f"{plan.default_audience:,} to their message's own contact source"
            table.add_row("default audience", Text(audience, style="bold yellow"))
        table.add_row("when", _dates(plan))
        table.add_row("takes about", duration(seconds))
    console.print(table)


def show_summary(console: Console, summary: Summary, *, results: str | None) -> None:
    """The sums of a batch by state and scenario, what they mean, and where the results are."""
    console.print()
    console.print(_sums(summary.balance, summary.scenarios))
    if summary.stopped is not None:
        console.print(Text.assemble(("stopped early: ", "bold yellow"), plain(summary.stopped.reason)))
        console.print(Padding(Text(plain(summary.stopped.remedy)), (0, 0, 0, 2)))
    for line in next_steps(summary.balance, stopped=summary.stopped is not None):
        console.print(line)
    if results is not None:
        console.print(f"Results: {plain(results)}", soft_wrap=True)


def show_batch(console: Console, batch: BatchInfo, scenarios: Sequence[ScenarioCount], *, at_work: bool) -> None:
    """One batch: where it came from, its books, how its last run ended."""
    table = _facts()
    table.add_row("batch", f"{batch.batch_id}  {plain(batch.name)}")
    table.add_row("file", plain(batch.source))
    table.add_row("staged", when(batch.created_at))
    table.add_row("last run", run_state(batch, at_work=at_work))
    console.print(table)
    console.print(_sums(batch.balance, scenarios))
    if not at_work:
        for line in next_steps(batch.balance, stopped=False):
            console.print(line)


def show_batches(console: Console, batches: Iterable[BatchInfo], *, at_work: int | None) -> None:
    """A line a batch."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("batch", justify="right")
    table.add_column("file", overflow="fold")
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("sent", justify="right", no_wrap=True)
    table.add_column("not sent", no_wrap=True)
    table.add_column("last run", overflow="fold")
    for batch in batches:
        books = batch.balance
        states = ("rejected", "in_doubt", "pending", "invalid")
        others = [(getattr(books, state), state.replace("_", " ")) for state in states]
        table.add_row(
            str(batch.batch_id),
            plain(batch.name, 40),
            f"{books.rows:,}",
            f"{books.sent:,}",
            "\n".join(f"{number:,} {state}" for number, state in others if number),
            run_state(batch, at_work=at_work == batch.batch_id),
        )
    console.print(table)


def next_steps(balance: Balance, *, stopped: bool) -> list[str]:
    """What the operator can do about rows that were not sent."""
    steps = []
    if balance.pending and not stopped:
        steps.append(f"{counted(balance.pending, 'job')} pending: `sms-runner resume` sends them.")
    if balance.in_doubt:
        steps.append(
            f"{counted(balance.in_doubt, 'job')} in doubt: nobody knows yet whether the API accepted them.\n"
            "  `sms-runner resume` tries each again under its own name, which the API takes only once."
        )
    if balance.rejected:
        steps.append(
            f"{counted(balance.rejected, 'job')} rejected: correct the file and send it again, or "
            "`sms-runner retry`\n  when the cause lay elsewhere."
        )
    if balance.invalid:
        steps.append(f"{counted(balance.invalid, 'row')} invalid: correct them and send the file again.")
    return steps


def run_state(batch: BatchInfo, *, at_work: bool) -> str:
    """How the last run of a batch ended, or that it goes on."""
    run = batch.last_run
    if at_work:
        return "at work now"
    if run is None:
        return "none yet"
    if run.ended_at is None:
        return f"died after {when(run.alive_at)}"
    return f"{(run.end_reason or 'ended').replace('_', ' ')} {when(run.ended_at)}"


def counted(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def when(epoch_ms: int) -> str:
    """A moment in this machine's time, to the minute."""
    return datetime.fromtimestamp(epoch_ms / 1000, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """`under a second`, `42 s`, `3 min`, `2 h 05 min`."""
    if seconds < 1:
        return "under a second"
    if seconds < 90:  # noqa: PLR2004 - below that, seconds say more
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"  # noqa: PLR2004


def _facts() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _sums(balance: Balance, scenarios: Sequence[ScenarioCount]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("state", footer="rows", no_wrap=True)
    table.add_column("rows", footer=f"{balance.rows:,}", justify="right", no_wrap=True)
    table.add_column("scenario, and what the API said", overflow="fold")
    for count in scenarios:
        why = " · ".join(str(part) for part in (count.scenario, count.evidence) if part)
        said = f"{why}: {plain(count.message, 160)}" if count.message and why else why
        table.add_row(Text(str(count.state), style=STATE_STYLE[count.state]), f"{count.count:,}", said)
    if not balance.balanced:
        table.caption = "The sums do not add up to the rows: please report this."
    return table


def _shares(shares: Sequence[Share], distinct: int) -> str:
    if distinct > FEW and shares[0].count == 1:
        return f"{distinct:,} different ones"
    shown = [f"{share.count:>10,}  {plain(share.value, SHOWN_VALUE)}" for share in shares[:FEW]]
    if distinct > len(shown):
        shown.append(f"{'':>10}  … {distinct:,} in all")
    return "\n".join(shown)


def _dates(plan: StagedPlan) -> str:
    parts = []
    if plan.immediate:
        parts.append(f"{plan.immediate:,} at once")
    if plan.earliest is not None and plan.latest is not None:
        first, last = plan.earliest.isoformat(timespec="minutes"), plan.latest.isoformat(timespec="minutes")
        scheduled = plan.to_send - plan.immediate
        parts.append(f"{scheduled:,} scheduled, {first}" + ("" if first == last else f" to {last}"))
    return "\n".join(parts)
