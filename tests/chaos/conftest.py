from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.chaos_ground import Ground


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """A folder to send from; what was started there is ended with the test."""
    folder, home = tmp_path / "desk", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    made = Ground(folder=folder, home=home)
    yield made
    made.close()
