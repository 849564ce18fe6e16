from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger.ledger_rows import ORG

from runner.ledger.store import Ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "acme-eu.ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(path, org=ORG) as opened:
        yield opened
