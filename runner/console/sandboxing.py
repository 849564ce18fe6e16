"""`sandbox`: a Campaign API on loopback until interrupted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from runner.console.screen import make_console
from runner.sandbox.faults import FAULTS, parse_faults
from runner.sandbox.options import SandboxOptions
from runner.sandbox.server import Sandbox


def serve(*, faults: Sequence[str], knobs: Mapping[str, Any]) -> None:
    """Serve until SIGINT or SIGTERM, then say what was seen.

    Raises:
        ConfigurationError: the port is taken, or a knob or fault is wrong.
    """
    asyncio.run(_serve(SandboxOptions(faults=parse_faults(faults), **knobs)))


def list_faults() -> None:
    """What can go wrong, a line each."""
    table = Table.grid(padding=(0, 1))
    for kind, note in FAULTS.items():
        table.add_row(str(kind), note.meaning)
    make_console().print(table)


async def _serve(options: SandboxOptions) -> None:
    out = make_console()
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    sandbox = Sandbox(options)
    url = await sandbox.start()
    try:
        out.print(f"A Campaign API for rehearsals at {url}; Ctrl-C ends it.")
        out.print(f'Set base_url = "{url}" in a configuration; any credentials will do.')
        out.print(f"{url}/sandbox/accepted tells what was accepted, {url}/sandbox/stats how busy it was.")
        await over.wait()
    finally:
        await sandbox.stop()
    stats = sandbox.stats()
    out.print(f"Accepted {len(sandbox.accepted()):,}; at most {stats.max_concurrent} requests at once.")
