"""The rehearsal's days are each a world of their own, and leave nothing of it behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from chaos.chaos_ground import Ground

from runner.console.rehearsing import Day, live_through


def test_the_days_of_a_rehearsal_share_nothing_and_leave_nothing_behind(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither their folders nor a change of this process's environment, whatever its operator has set there."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("SMS_RUNNER_SENDING__MAX_CONCURRENT", "1")
    before = dict(os.environ)
    file = ground.jobs(30)
    for number in range(2):
        proof = live_through(Day(name="killed", kills=True), file, kills=1, rows=30, seed=number)
        assert proof.holds
        assert (proof.accepted, proof.kills, proof.doubtful) == (30, 1, 0)
        assert proof.most_at_once > 1, "the operator's own settings are not the rehearsal's"
        assert list(place.glob("sms-runner-*")) == [], "each day cleans up after itself"
    assert dict(os.environ) == before
