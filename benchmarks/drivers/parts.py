"""One part of a longer step by itself, so that it can be told where the step's time goes.

    python -m benchmarks.drivers.parts insert jobs.csv new.ledger.db   staging rows that were checked before, commit too
    python -m benchmarks.drivers.parts read   some.ledger.db           reading results, and nothing made of them

Prints the seconds that the part took.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.drivers.pass_over import ORG
from runner.jobs.checks import CheckRules, FileCheck
from runner.ledger.store import Ledger

PAGE_ROWS = 250
"""As an export reads."""


def insert(path: Path, ledger: Ledger) -> float:
    """Stage the file's rows, all of them checked and held in memory before the clock starts."""
    source = FileCheck(path, rules=CheckRules(now=datetime.now(UTC)))
    chunks = list(source.chunks())
    began = time.perf_counter()
    with ledger.staging(
        name=path.name,
        source=path.name,
        headers=source.headers,
        other_columns=source.other_columns,
        attributes=source.attributes,
        now_ms=int(time.time() * 1000),
    ) as staging:
        for chunk in chunks:
            staging.add(chunk)
        staging.commit(digest=source.digest)
    return time.perf_counter() - began


def read(ledger: Ledger) -> float:
    """Go over all results of the first batch, page by page."""
    began = time.perf_counter()
    with closing(ledger.result_pages(1, size=PAGE_ROWS)) as pages:
        for _ in pages:
            pass
    return time.perf_counter() - began


def main(part: str, *paths: str) -> None:
    """Do one part."""
    with Ledger.open(Path(paths[-1]), org=ORG) as ledger:
        took = insert(Path(paths[0]), ledger) if part == "insert" else read(ledger)
    sys.stdout.write(f"{took}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
