"""One pass of the runner over a job file: checked only, or checked and staged; nothing is sent.

There is no command that stages without sending, and the two must differ in the staging alone to be compared.

    python -m benchmarks.drivers.pass_over chunk-rows
    python -m benchmarks.drivers.pass_over check jobs.csv
    python -m benchmarks.drivers.pass_over stage jobs.csv new.ledger.db
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from runner.batch.prepare import check_source, prepare
from runner.jobs.checks import CheckRules, FileCheck
from runner.ledger.store import Ledger

ORG = "bench"


def stage(path: Path, ledger: Ledger) -> int:
    """Check and stage the file; the batch's number."""
    now = datetime.now(UTC)
    source = FileCheck(path, rules=CheckRules(now=now))
    with prepare(
        ledger, source, name=path.name, origin=path.name, skip_invalid=False, now_ms=int(time.time() * 1000)
    ) as prepared:
        if prepared.problems.count:
            raise ValueError(f"{prepared.problems.count} problems, the first: {prepared.problems.first[0]}")
        return prepared.commit()


def main(step: str, *paths: str) -> None:
    """Do one step."""
    if step == "chunk-rows":
        sys.stdout.write(f"{CheckRules(now=datetime.now(UTC)).chunk_rows}\n")
    elif step == "check":
        found = check_source(FileCheck(Path(paths[0]), rules=CheckRules(now=datetime.now(UTC))))
        if found.problems.count:
            raise ValueError(f"{found.problems.count} problems, the first: {found.problems.first[0]}")
    else:
        ledger = Ledger.open(Path(paths[1]), org=ORG)
        stage(Path(paths[0]), ledger)
        ledger.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
