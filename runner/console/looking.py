"""`batches`, `show`, `export`, `messages`: what the ledger holds and what the org has published. Sends nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.table import Table

from runner.console import asjson
from runner.console.screen import counted, make_console, plain, show_batch, show_batches
from runner.console.setting import chosen_batch, org_settings, read_ledger
from runner.ledger.results import export
from runner.ledger.store import Ledger
from runner.settings import load_settings


def list_batches(*, config: Path | None, ledger: Path | None, sandbox: bool, as_json: bool) -> None:
    """List the batches, the newest first."""
    with read_ledger(org_settings(config, ledger, sandbox=sandbox)) as books:
        batches = books.batches()
        working = _batch_at_work(books)
    if as_json:
        asjson.write([asjson.batch(batch, at_work=batch.batch_id == working) for batch in batches])
    elif batches:
        show_batches(make_console(), batches, at_work=working)
    else:
        make_console().print("The ledger holds no batch yet.")


def show_one(batch_id: int | None, *, config: Path | None, ledger: Path | None, sandbox: bool, as_json: bool) -> None:
    """Show one batch."""
    with read_ledger(org_settings(config, ledger, sandbox=sandbox)) as books:
        batch = chosen_batch(books, batch_id)
        counts = books.scenarios(batch.batch_id)
        working = _batch_at_work(books) == batch.batch_id
    if as_json:
        asjson.write(asjson.batch(batch, at_work=working) | {"scenarios": asjson.scenarios(counts)})
    else:
        show_batch(make_console(), batch, counts, at_work=working)


def export_results(out: Path, batch_id: int | None, *, config: Path | None, ledger: Path | None, sandbox: bool) -> None:
    """Write the results of a batch."""
    from runner.console.outputs import refuse_to_replace

    with read_ledger(org_settings(config, ledger, sandbox=sandbox)) as books:
        batch = chosen_batch(books, batch_id)
        refuse_to_replace(Path(batch.source), out)
        rows = export(books, batch.batch_id, out)
    make_console().print(f"{plain(str(out))}: {counted(rows, 'row')} of batch {batch.batch_id}, {plain(batch.name)}.")


def list_messages(*, config: Path | None, as_json: bool) -> None:
    """List the org's published messages."""
    from runner.console.online import published

    messages = published(load_settings(config))
    if as_json:
        asjson.write([asdict(message) for message in messages])
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("publishedMessageId", no_wrap=True)
    table.add_column("name", overflow="fold")
    table.add_column("contact source", justify="right", overflow="fold")
    for message in messages:
        table.add_row(plain(message.id), plain(message.name or ""), plain(message.contact_source_id or ""))
    make_console().print(table)
    make_console().print(f"{counted(len(messages), 'published message')}.")


def _batch_at_work(ledger: Ledger) -> int | None:
    run = ledger.last_run() if ledger.at_work() else None
    return run.batch_id if run is not None and run.ended_at is None else None
